# SPDX-License-Identifier: Apache-2.0
"""The nodes: load a model, take a face apart, say what is wanted, do it.

FaceX itself is imported when a node runs, so that ComfyUI starts as fast as before.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from .values import (
    Face,
    Order,
    Source,
    aligned,
    cut_around,
    image_tensor,
    mask_arrays,
    pictures,
    source_picture,
)

if TYPE_CHECKING:
    import facex

Inputs = dict[str, dict[str, Any]]

CATEGORY = "FaceX"
PICTURE = "IMAGE,FACEX_FACE"
"""A socket that takes either: glasses are no face, and most sources need no choice."""
EXTRA = ("image_1", "image_2", "image_3")
NOTHING = "none"
OWN = -1.0
"""A strength that is none: 0 has a meaning of its own, a widget cannot be empty."""


def _degrees(limit: float) -> tuple[str, dict[str, Any]]:
    return ("FLOAT", {"default": 0.0, "min": -limit, "max": limit, "step": 0.5})


class LoadModel:
    """Load a FaceX model: the bundled one, or a folder."""

    CATEGORY = CATEGORY
    FUNCTION = "load"
    RETURN_TYPES = ("FACEX_MODEL",)
    RETURN_NAMES = ("model",)
    DESCRIPTION = "Load a FaceX model. Nothing is downloaded; an empty folder is the bundled one."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """Where the model is, and where it shall run."""
        return {
            "required": {
                "folder": ("STRING", {"default": ""}),
                "device": (["auto", "cpu", "cuda", "mps"],),
                "dtype": (["auto", "float32", "float16", "bfloat16"],),
            }
        }

    def load(self, folder: str, device: str, dtype: str) -> tuple[facex.FaceX]:
        """Load it; FaceXError says what is missing."""
        import facex

        where = folder.strip() or None
        return (facex.FaceX.from_pretrained(where, device=device, dtype=dtype),)


class DecomposeFace:
    """Find a face and take it apart."""

    CATEGORY = CATEGORY
    FUNCTION = "decompose"
    RETURN_TYPES = ("FACEX_FACE", "IMAGE")
    RETURN_NAMES = ("face", "crop")
    DESCRIPTION = "Choose a face of a photo, as a source or to look at what FaceX finds in it."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """The photo, and which of its faces: ``largest`` or a number from left to right."""
        return {
            "required": {
                "model": ("FACEX_MODEL",),
                "image": ("IMAGE",),
                "face": ("STRING", {"default": "largest"}),
            }
        }

    def decompose(self, model: facex.FaceX, image: Tensor, face: str) -> tuple[Face, Tensor]:
        """The face of the first picture, and its aligned crop with the mesh's points."""
        import facex

        picture = pictures(image)[0]
        found = model.decompose(picture, face=face.strip())
        if len(found) != 1:
            raise facex.FaceXError("Decompose takes one face: give its number from left to right")
        whole = face.strip() == "largest"
        shown = picture if whole else cut_around(picture, found[0])
        return Face(found[0], shown), image_tensor([aligned(picture, found[0])])


class TaskRecipe:
    """One task with what it needs."""

    CATEGORY = CATEGORY
    FUNCTION = "build"
    RETURN_TYPES = ("FACEX_RECIPE",)
    RETURN_NAMES = ("recipe",)
    DESCRIPTION = "What to do, as a task; the socket 'source' or 'driver' as the task asks."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """The rows of FaceX's own task table; numbers at 0 and empty texts count as not given."""
        from facex.recipes.tasks import task_table
        from facex.recipes.values import PlaceKind

        return {
            "required": {
                "task": (list(task_table()),),
                "regions": ("STRING", {"default": "", "tooltip": "lips, brows, hair, ..."}),
                "place": ([NOTHING, *(kind.value for kind in PlaceKind)],),
                "yaw": _degrees(90),
                "pitch": _degrees(90),
                "roll": _degrees(180),
                "gaze_yaw": _degrees(90),
                "gaze_pitch": _degrees(90),
                "expression": ("STRING", {"default": "", "tooltip": "jawOpen=0.4, ..."}),
            },
            "optional": {
                "source": (PICTURE,),
                "driver": (PICTURE,),
                "style": ("STRING", {"default": "", "tooltip": "pencil, comic, oil, ..."}),
            },
        }

    def build(
        self,
        task: str,
        regions: str,
        place: str,
        yaw: float,
        pitch: float,
        roll: float,
        gaze_yaw: float,
        gaze_pitch: float,
        expression: str,
        source: Source = None,
        driver: Source = None,
        style: str = "",
    ) -> tuple[Order]:
        """The recipe; FaceXError says what the task lacks or has no use for."""
        import facex

        angles = {
            "yaw": yaw, "pitch": pitch, "roll": roll,
            "gaze_yaw": gaze_yaw, "gaze_pitch": gaze_pitch,
        }  # fmt: skip
        sliders: dict[str, Any] = {name: value for name, value in angles.items() if value}
        if values := _numbers(expression):
            sliders["blendshapes"] = values
        photos = _given(source=source, driver=driver)
        recipe = facex.Recipe.for_task(
            task,
            given=list(photos),
            chosen=_words(regions),
            sliders=sliders or None,
            place=None if place == NOTHING else {"picture": "source", "kind": place},
            style=style.strip() or None,
        )
        return (Order(recipe, photos),)


class YamlRecipe:
    """A recipe as text, in FaceX's recipe language."""

    CATEGORY = CATEGORY
    FUNCTION = "build"
    RETURN_TYPES = ("FACEX_RECIPE",)
    RETURN_NAMES = ("recipe",)
    DESCRIPTION = (
        "A recipe of one or several steps. It may name the sockets source, driver and image_1 to "
        "image_3 as pictures; files of this machine are not read."
    )
    EXAMPLE: ClassVar[str] = (
        "format_version: 1\nsteps:\n  - regions: {lips: source, brows: source}\n"
        "  - pose: {yaw: 12}\n    expression: {jawOpen: 0.25}\n"
    )

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """The text, and the pictures that it may name."""
        sockets = {name: (PICTURE,) for name in ("source", "driver", *EXTRA)}
        text = ("STRING", {"multiline": True, "default": cls.EXAMPLE})
        return {"required": {"text": text}, "optional": sockets}

    def build(
        self,
        text: str,
        source: Source = None,
        driver: Source = None,
        image_1: Source = None,
        image_2: Source = None,
        image_3: Source = None,
    ) -> tuple[Order]:
        """The recipe; FaceXError names the line that is wrong."""
        import facex
        from facex.recipes.load import parse_recipe

        given = _given(source=source, driver=driver)
        extra = _given(image_1=image_1, image_2=image_2, image_3=image_3)
        recipe = parse_recipe(text, given=("target", *given))
        if any(step.mask is not None for step in recipe.steps):
            raise facex.FaceXError("the recipe names a mask file; connect the mask to the edit")
        for name, path in recipe.photos.items():
            if name == "target":
                continue
            if str(path) not in extra:
                raise facex.FaceXError(
                    f"photos.{name} must be the name of a connected socket, one of "
                    f"{', '.join(EXTRA)}, not {str(path)!r}"
                )
            given[name] = extra[str(path)]
        return (Order(recipe, given),)


class EditFaces:
    """Apply a recipe to pictures."""

    CATEGORY = CATEGORY
    FUNCTION = "edit"
    RETURN_TYPES = ("IMAGE", "MASK", "STRING")
    RETURN_NAMES = ("image", "changed", "report")
    DESCRIPTION = (
        "Do the edit, with pictures of people who agreed to it only. What comes out carries "
        "FaceX's invisible mark."
    )

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """Pictures and recipe; ``steps`` 0 and a ``strength`` below 0 are the model's own."""
        unit = {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.05}
        strength = {**unit, "default": OWN, "min": OWN, "tooltip": "-1: the model's own"}
        return {
            "required": {
                "model": ("FACEX_MODEL",),
                "image": ("IMAGE",),
                "recipe": ("FACEX_RECIPE",),
                "face": ("STRING", {"default": "largest"}),
                "seed": ("INT", {"default": 0, "min": 0, "max": 2**32 - 1}),
                "steps": ("INT", {"default": 0, "min": 0, "max": 100}),
                "strength": ("FLOAT", strength),
                "kappa": ("FLOAT", unit),
            },
            "optional": {"mask": ("MASK",)},
        }

    def edit(
        self,
        model: facex.FaceX,
        image: Tensor,
        recipe: Order,
        face: str,
        seed: int,
        steps: int,
        strength: float,
        kappa: float,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, str]:
        """Every picture of the batch with the same seed, so that frames agree.

        Returns:
            Pictures ``(B, H, W, 3)``, where they may have changed ``(B, H, W)``, and a line per
            picture: the number in its mark and what was doubtful.
        """
        import torch

        from facex.api import EditOptions

        options = EditOptions(
            seed=seed,
            steps=steps or None,
            strength=None if strength < 0 else strength,
            kappa=kappa,
        )
        targets, lines, images, masks = pictures(image), [], [], []
        told = _progress(len(targets))
        for number, (picture, where) in enumerate(
            zip(targets, mask_arrays(mask, len(targets)), strict=True)
        ):
            result = model.edit(
                picture,
                recipe.recipe,
                photos=recipe.photos,
                face=face.strip(),
                mask=where,
                options=options,
                progress=told(number),
            )
            images.append(result.image)
            masks.append(torch.from_numpy(result.mask))
            lines.append("; ".join([f"edit {result.edit_id:06x}", *result.warnings]))
        return image_tensor(images), torch.stack(masks), "\n".join(lines)


def _given(**sources: Source) -> dict[str, Any]:
    """Pictures of the sockets that are connected."""
    found = {name: source_picture(source) for name, source in sources.items()}
    return {name: picture for name, picture in found.items() if picture is not None}


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[,\s]+", text) if word]


def _numbers(text: str) -> dict[str, float]:
    """``jawOpen=0.4, browInnerUp=0.2`` as numbers by name."""
    import facex

    found = {}
    for item in _words(re.sub(r"\s*[=:]\s*", "=", text)):
        name, _, value = item.partition("=")
        try:
            found[name] = float(value)
        except ValueError as error:
            raise facex.FaceXError(f"{item!r} is not NAME=NUMBER, as in jawOpen=0.4") from error
    return found


def _progress(count: int) -> Callable[[int], Callable[[int, int, str], None] | None]:
    """ComfyUI's bar, through which it also cancels; nothing where there is no ComfyUI."""
    try:
        from comfy.utils import ProgressBar  # type: ignore[import-not-found]
    except ImportError:
        return lambda number: None
    bar = ProgressBar(count)

    def of(number: int) -> Callable[[int, int, str], None]:
        def report(done: int, total: int, what: str) -> None:
            all_in_all = max(total, 1) * count
            bar.update_absolute(number * max(total, 1) + done, all_in_all)

        return report

    return of


NODE_CLASS_MAPPINGS = {
    "FaceXLoadModel": LoadModel,
    "FaceXDecomposeFace": DecomposeFace,
    "FaceXTaskRecipe": TaskRecipe,
    "FaceXYamlRecipe": YamlRecipe,
    "FaceXEditFaces": EditFaces,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "FaceXLoadModel": "Load FaceX Model",
    "FaceXDecomposeFace": "Decompose Face (FaceX)",
    "FaceXTaskRecipe": "Task Recipe (FaceX)",
    "FaceXYamlRecipe": "YAML Recipe (FaceX)",
    "FaceXEditFaces": "Edit Faces (FaceX)",
}
