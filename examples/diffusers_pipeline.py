# SPDX-License-Identifier: Apache-2.0
"""FaceX as a pipeline of diffusers: ``diffusers_pipeline.py MODEL SOURCE TARGET OUT``.

Writes the bundled model to the folder MODEL unless it is there, loads it the way any pipeline of
diffusers is loaded, and swaps a face. In your own program that is::

    pipe = DiffusionPipeline.from_pretrained(
        "MODEL", custom_pipeline="examples/diffusers_pipeline.py", trust_remote_code=True
    )
    pipe(target, "swap", photos={"source": source}).images[0]

The five networks and the scheduler are ordinary components: ``pipe.scheduler`` may be exchanged,
``pipe.to("cuda")`` works, a fine-tuned ``unet=`` may be handed over. Diffusers runs a pipeline's
own file only with ``trust_remote_code=True``, also one of your disk.

Put somebody's face into another picture only if the people in both agree. It is not for deceiving,
harassing or undressing anybody, and never for any of these with children (POLICY.md). Results carry
the invisible mark; ``results[0].save(...)`` also writes the metadata.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput

import facex
from facex.api import EditOptions
from facex.models.folder import load_model

PARTS = ("unet", "vae", "scheduler", "controller", "conditioner")


@dataclass
class FaceXPipelineOutput(BaseOutput):
    """What a call gives.

    Attributes:
        images: edited photos (PIL), marked.
        results: the same with everything around them; ``results[0].save(...)`` adds metadata.
    """

    images: list[Any]
    results: list[facex.Result]


class FaceXDiffusionPipeline(DiffusionPipeline):
    """Edits faces in photos.

    Args:
        unet: the base's network.
        vae: its autoencoder.
        scheduler: any of diffusers' that the base's prediction type fits.
        controller: FRC.
        conditioner: FORS' networks.
    """

    model_cpu_offload_seq = None

    def __init__(
        self, unet: Any, vae: Any, scheduler: Any, controller: Any, conditioner: Any
    ) -> None:
        super().__init__()
        self.register_modules(
            unet=unet, vae=vae, scheduler=scheduler, controller=controller, conditioner=conditioner
        )
        self._editor: tuple[tuple[Any, ...], facex.FaceX] | None = None

    @classmethod
    def from_facex(cls, editor: facex.FaceX) -> FaceXDiffusionPipeline:
        """The pipeline of a model that ``FaceX.from_pretrained`` loaded."""
        model = editor.model
        pipe = cls(model.base.unet, model.base.vae, model.base.scheduler,
                   model.controller, model.conditioner)  # fmt: skip
        pipe.register_to_config(_name_or_path=str(model.folder))
        return pipe

    @property
    def editor(self) -> facex.FaceX:
        """The components and the extractors of the same folder, on the components' device."""
        parts = {name: getattr(self, name) for name in PARTS}
        state = (*map(id, parts.values()), self.device, self.dtype)
        if self._editor is None or self._editor[0] != state:
            folder = Path(self.config["_name_or_path"])
            model = load_model(folder, self.device, self.unet.dtype, loaded=parts)
            self._editor = state, facex.FaceX(model)
        return self._editor[1]

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> None:
        """Write a model folder that FaceX and diffusers both read."""
        self.editor.save_pretrained(save_directory)
        self.save_config(save_directory)

    def __call__(
        self,
        image: Any,
        recipe: facex.Recipe | str,
        *,
        photos: Mapping[str, Any] | None = None,
        face: str = "largest",
        mask: Any = None,
        num_inference_steps: int | None = None,
        strength: float | None = None,
        seed: int = 0,
        callback: Callable[[int, int, str], None] | None = None,
    ) -> FaceXPipelineOutput:
        """Edit one photo or several; the arguments are those of ``FaceX.edit``."""
        several = isinstance(image, Sequence) and not isinstance(image, str | bytes)
        options = EditOptions(seed=seed, steps=num_inference_steps, strength=strength)
        results = [
            self.editor.edit(
                each, recipe, photos=photos, face=face, mask=mask, options=options,
                progress=callback,
            )
            for each in (image if several else [image])
        ]  # fmt: skip
        return FaceXPipelineOutput(images=[r.image for r in results], results=results)


def main(folder: str, source: str, target: str, out: str) -> None:
    """Save, load, swap."""
    if not Path(folder).exists():
        FaceXDiffusionPipeline.from_facex(facex.FaceX.from_pretrained()).save_pretrained(folder)
    pipe = DiffusionPipeline.from_pretrained(
        folder, custom_pipeline=__file__, trust_remote_code=True, local_files_only=True
    )
    if torch.cuda.is_available():
        pipe.to("cuda")
    pipe(target, "swap", photos={"source": source}).results[0].save(out)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
