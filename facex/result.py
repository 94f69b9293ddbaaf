# SPDX-License-Identifier: Apache-2.0
"""What an edit returns: the picture, and everything needed to understand and to keep it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from facex.ford.representation import FaceRepresentation
    from facex.imaging.read import Photo
    from facex.recipes.schema import Recipe


class CropPair(TypedDict):
    """One edited face, both pictures RGB of the model's crop size."""

    reference: Image
    """The reference image that the model was shown (DESIGN 4)."""
    output: Image
    """What the model made of it."""


def _new_id() -> int:
    return secrets.randbits(24)


@dataclass
class Result:
    """The outcome of one edit.

    Attributes:
        image: the edited photo, RGB, upright, sRGB, the size of the target.
        mask: where the photo may have changed, float32 ``(H, W)`` in [0, 1], photo pixels.
        recipe: what was done, complete.
        photo: the target as it was read (its ICC profile, alpha and format go into the output).
        crops: per edited face the reference and the model's output.
        representations: per edited face what was assembled for it, batch size 1.
        timings: seconds per stage.
        warnings: one sentence each; empty if nothing was doubtful.
        edit_id: 24-bit number that names this edit in the mark and in the metadata.
        marked: write provenance metadata with the picture.
    """

    image: Image
    mask: NDArray[np.float32]
    recipe: Recipe
    photo: Photo
    crops: Sequence[CropPair] = field(default_factory=list)
    representations: Sequence[FaceRepresentation] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    edit_id: int = field(default_factory=_new_id)
    marked: bool = True

    @property
    def faces(self) -> int:
        """Number of faces that were edited."""
        return len(self.crops)

    @property
    def representation(self) -> FaceRepresentation:
        """The representation of the first edited face; IndexError if there is none."""
        return self.representations[0]

    @property
    def recipe_json(self) -> str:
        """The recipe as one line of JSON, without file names, which are nobody else's business."""
        private: Any = {"photos": True, "steps": {"__all__": {"mask"}}}
        return self.recipe.model_dump_json(exclude_none=True, exclude=private)

    def save(self, path: str | Path, *, overwrite: bool = True) -> Path:
        """Write the picture, in one piece, with the metadata that says how it was made.

        Args:
            path: file to write; its suffix chooses the format.
            overwrite: False refuses to replace a file that exists.

        Returns:
            The path.

        Raises:
            OutputError: the suffix is unknown, or the file exists or cannot be written.
        """
        from facex.imaging.write import write_photo

        destination = Path(path)
        xmp = None
        if self.marked:
            from facex.safety.provenance import build_xmp

            xmp = build_xmp(self.recipe_json, self.edit_id)
        quality = self.recipe.output.quality
        write_photo(
            self.image,
            destination,
            like=self.photo,
            xmp=xmp,
            overwrite=overwrite,
            quality=quality,
        )
        return destination
