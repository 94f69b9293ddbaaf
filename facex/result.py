# SPDX-License-Identifier: Apache-2.0
"""What an edit returns: the picture, and everything needed to understand and to keep it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from facex.errors import OutputError

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
        edit_id: number of 24 bits that names this edit in the mark and in the metadata.
        marked: the picture carries the invisible mark; `save` writes the metadata too.
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
        """Number of faces that were edited, or that were found where nothing was asked for."""
        return len(self.representations)

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

        Content credentials are signed too where the user configured a key
        (``safety.credentials``).

        Args:
            path: file to write; its suffix chooses the format.
            overwrite: False refuses to replace a file that exists.

        Returns:
            The path.

        Raises:
            OutputError: the suffix is unknown, or the file exists or cannot be written.
            OptionError: the user configured a key for content credentials that cannot be used.
        """
        destination = Path(path)
        signing = None
        if self.marked:
            from facex.safety.credentials import signing_from_environment

            signing = signing_from_environment()
        if signing is None:
            return self._write(destination, overwrite=overwrite)

        from facex.safety.credentials import sign

        # Signing replaces a finished file, so that file is a draft beside the destination.
        if destination.exists() and not overwrite:
            raise OutputError(f"{destination} exists already: choose another name")
        draft = destination.with_name(f".{destination.stem}.{secrets.token_hex(6)}.part")
        draft = draft.with_name(draft.name + destination.suffix)
        try:
            self._write(draft, overwrite=False)
            sign(draft, signing, edit_id=self.edit_id)
            os.replace(draft, destination)
        except OSError as error:
            raise OutputError(f"{destination} cannot be written: {error.strerror}") from error
        finally:
            draft.unlink(missing_ok=True)
        return destination

    def _write(self, path: Path, *, overwrite: bool) -> Path:
        from facex.imaging.write import write_photo

        xmp = None
        if self.marked:
            from facex.safety.provenance import build_xmp

            xmp = build_xmp(self.recipe_json, self.edit_id)
        quality = self.recipe.output.quality
        return write_photo(
            self.image, path, like=self.photo, xmp=xmp, overwrite=overwrite, quality=quality
        )
