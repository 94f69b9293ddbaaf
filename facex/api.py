# SPDX-License-Identifier: Apache-2.0
"""``FaceX``: load a model, decompose photos, edit them (DESIGN 9)."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from facex.config import choose_device, choose_dtype
from facex.detect.choose import FaceChoice
from facex.detect.detector import Detector
from facex.detect.learned import NetDetector
from facex.doubts import tell_doubts
from facex.editing import PreparedEdit, StepOutcome, StepRunner, StepSettings
from facex.errors import OptionError, RecipeError
from facex.ford.representation import FaceRepresentation
from facex.imaging.read import ImageSource, Photo, read_mask, read_photo
from facex.locate import FaceLocator, LocatedFace
from facex.models.folder import LoadedModel, load_model, save_model
from facex.models.hub import resolve_model_folder
from facex.models.styles import StyledPipelines
from facex.recipes.plan import Plan, plan_recipe
from facex.recipes.schema import Recipe
from facex.recipes.values import NONE, TARGET
from facex.result import CropPair, Result
from facex.timing import timed

Picture: TypeAlias = "ImageSource | Photo"
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class EditOptions:
    """Numbers of one edit; None means the model's own.

    Attributes:
        seed: of the noise; the same seed gives the same bytes on the same machine.
        steps: sampling steps, 1 to 1000.
        strength: 0 to 1, how much noise the reference starts from.
        kappa: 0 to 1, factor on the confidence in the reference.
        size: largest side in pixels at which a face is painted.
        mark: embed the invisible mark and write provenance metadata.
        edit_id: number of 24 bits that names the edit; None: made from the photo and the recipe.
        overrides: fields of ``recipes.schema.Step`` when the recipe is a task's name.
    """

    seed: int = 0
    steps: int | None = None
    strength: float | None = None
    kappa: float | None = None
    size: int | None = None
    mark: bool = True
    edit_id: int | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise OptionError(f"steps must be 1 to 1000, got {self.steps}")
        for name in ("strength", "kappa"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise OptionError(f"{name} must be 0 to 1, got {value}")
        if self.size is not None and not 64 <= self.size <= 4096:
            raise OptionError(f"size must be 64 to 4096 pixels, got {self.size}")


class FaceX:
    """A loaded model. Make one with :meth:`from_pretrained`.

    Args:
        model: the parts.
        detector: finds the faces in place of the model's own.
    """

    def __init__(self, model: LoadedModel, detector: Detector | None = None) -> None:
        self.model = model
        self.pipeline = model.pipeline()
        self.styled = StyledPipelines(self.pipeline, model.folder)
        self.locator = FaceLocator(
            detector or NetDetector(model.detector),
            model.landmarks,
            model.ford,
            model.index.crop_size,
            model.base.device,
        )

    @classmethod
    def from_pretrained(
        cls,
        folder_or_id: str | Path | None = None,
        *,
        device: str = "auto",
        dtype: str = "auto",
        local_files_only: bool = True,
    ) -> FaceX:
        """Load a model.

        Args:
            folder_or_id: a model folder, a hub id, or None for the bundled mini model.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
            dtype: ``auto``, ``float32``, ``bfloat16``, ``float16``.
            local_files_only: never touch the network.

        Raises:
            ModelNotFound: there is no such model, or a part of it is missing.
            WeightsCorrupt: a part is damaged.
            OptionError: no such device or number format.
        """
        folder = resolve_model_folder(folder_or_id, local_files_only=local_files_only)
        where, _ = choose_device(device)
        kind, _ = choose_dtype(dtype, where)
        return cls(load_model(folder, torch.device(where), getattr(torch, kind)))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the whole model folder in one piece.

        Raises:
            OutputError: the folder is something else, or cannot be written.
        """
        save_model(self.model, Path(folder))

    def decompose(self, image: Picture, *, face: str = "largest") -> list[FaceRepresentation]:
        """Take the faces of a photo apart.

        Args:
            image: path, bytes, PIL image, array or ``Photo``.
            face: ``largest``, ``all``, a number from left to right, or ``like:PHOTO``.

        Returns:
            One representation (batch of one) per chosen face.

        Raises:
            ImageRejected: no usable picture.
            NoFaceFound: no face, or none that fits the choice.
        """
        found = self.locator.find(_photo(image), FaceChoice.parse(face))
        return [located.representation for located in found]

    def edit(
        self,
        target: Picture,
        recipe: Recipe | str,
        *,
        photos: Mapping[str, Picture] | None = None,
        face: str = "largest",
        mask: Any = None,
        options: EditOptions | None = None,
        progress: Progress | None = None,
    ) -> Result:
        """Edit a photo.

        Args:
            target: the photo that is changed.
            recipe: a recipe, or the name of a task (``facex.recipes.tasks.task_table``).
            photos: other pictures by the names that the recipe uses (``source``, ``driver``, ...).
            face: which face of the target: ``largest``, ``all``, a number, ``like:PHOTO``.
            mask: what may change, white, for recipes that edit by mask: a picture or an array of
                the photo's size in [0, 1].
            options: seed, steps and strengths.
            progress: called with (done, total, what).

        Returns:
            The edited photo and everything around it.

        Raises:
            FaceXError: one sentence that says what is wrong and what to do.
        """
        options, given = options or EditOptions(), dict(photos or {})
        if isinstance(recipe, str):
            recipe = Recipe.for_task(recipe, given=list(given), **options.overrides)
        photo = _photo(target)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            result = self._run(photo, recipe, given, face, mask, options, progress)
        said = [str(w.message) for w in caught if "facex" in w.filename]
        result.warnings.extend(dict.fromkeys(said))
        return result

    def swap(self, source: Picture, target: Picture, **options: Any) -> Result:
        """Put the face of ``source`` into ``target``; see :meth:`edit` for the options."""
        return self.edit(target, "swap", photos={"source": source}, **options)

    def head_swap(self, source: Picture, target: Picture, **options: Any) -> Result:
        """Put the whole head of ``source``, with hair and ears, into ``target``."""
        return self.edit(target, "head-swap", photos={"source": source}, **options)

    def attribute(
        self, source: Picture, target: Picture, regions: list[str], **options: Any
    ) -> Result:
        """Take chosen regions (``brows``, ``lips``, ``hair``, ...) from ``source``."""
        recipe = Recipe.for_task("attribute", given=["source"], chosen=regions)
        return self.edit(target, recipe, photos={"source": source}, **options)

    def pose(
        self,
        photo: Picture,
        *,
        yaw: float = 0.0,
        pitch: float = 0.0,
        roll: float = 0.0,
        driver: Picture | None = None,
        **options: Any,
    ) -> Result:
        """Turn the head by degrees, or like the head of ``driver``."""
        sliders = {"yaw": yaw, "pitch": pitch, "roll": roll}
        return self._motion("pose", photo, sliders, driver, options)

    def expression(
        self,
        photo: Picture,
        values: Mapping[str, float] | None = None,
        *,
        driver: Picture | None = None,
        **options: Any,
    ) -> Result:
        """Set named blendshapes (0 to 1), or take the expression of ``driver``."""
        sliders = {"blendshapes": dict(values or {})}
        return self._motion("expression", photo, sliders, driver, options)

    def gaze(
        self,
        photo: Picture,
        *,
        yaw: float = 0.0,
        pitch: float = 0.0,
        driver: Picture | None = None,
        **options: Any,
    ) -> Result:
        """Turn the eyes by degrees, or let them look like those of ``driver``."""
        return self._motion("gaze", photo, {"gaze_yaw": yaw, "gaze_pitch": pitch}, driver, options)

    def reenact(self, photo: Picture, driver: Picture, **options: Any) -> Result:
        """Take pose, expression and gaze from ``driver``."""
        return self.edit(photo, "reenact", photos={"driver": driver}, **options)

    def inpaint(
        self, photo: Picture, mask: Any, *, guide: Picture | None = None, **options: Any
    ) -> Result:
        """Redraw what ``mask`` covers, optionally with another photo of the person."""
        photos = {} if guide is None else {"source": guide}
        return self.edit(photo, "inpaint", photos=photos, mask=mask, **options)

    def stylize(self, photo: Picture, style: str, **options: Any) -> Result:
        """Redraw the photo with the personalised base ``style``."""
        return self.edit(photo, Recipe.for_task("stylize", style=style), **options)

    def _motion(
        self,
        task: str,
        photo: Picture,
        sliders: dict[str, Any],
        driver: Picture | None,
        options: dict[str, Any],
    ) -> Result:
        given = {} if driver is None else {"driver": driver}
        recipe = Recipe.for_task(task, given=list(given), sliders=sliders)
        return self.edit(photo, recipe, photos=given, **options)

    def _run(
        self,
        photo: Photo,
        recipe: Recipe,
        given: Mapping[str, Picture],
        face: str,
        mask: Any,
        options: EditOptions,
        progress: Progress | None,
    ) -> Result:
        timings: dict[str, float] = {}
        plans = plan_recipe(recipe)
        targets = self.locator.find(photo, FaceChoice.parse(face), timings)
        prepared = PreparedEdit(recipe, plans, *self._pictures(recipe, plans, given, timings))
        return self.apply(
            prepared,
            photo,
            targets,
            mask=mask,
            options=options,
            timings=timings,
            progress=progress,
        )

    def prepare(self, recipe: Recipe, photos: Mapping[str, Picture]) -> PreparedEdit:
        """Read and decompose everything that a recipe takes from other pictures, once.

        Args:
            recipe: the edit.
            photos: pictures by the names that the recipe uses.

        Raises:
            FaceXError: a picture is missing or shows no face.
        """
        plans = plan_recipe(recipe)
        return PreparedEdit(recipe, plans, *self._pictures(recipe, plans, photos, {}))

    def apply(
        self,
        prepared: PreparedEdit,
        photo: Photo,
        targets: list[LocatedFace],
        *,
        mask: Any = None,
        options: EditOptions | None = None,
        timings: dict[str, float] | None = None,
        progress: Progress | None = None,
    ) -> Result:
        """Do a prepared edit to faces of a photo that were located before.

        Args:
            prepared: of :meth:`prepare`.
            photo: that is changed.
            targets: its faces, all of which are changed.
            mask: as for :meth:`edit`.
            options: as for :meth:`edit`.
            timings: the seconds of the stages are added here.
            progress: called with (done, total, what).
        """
        timings, options = {} if timings is None else timings, options or EditOptions()
        plans = prepared.plans
        runner = StepRunner(self.pipeline, timings, self.styled, self.model.ford)
        settings = StepSettings(
            seed=options.seed,
            steps=options.steps or self.model.index.steps,
            strength=options.strength,
            kappa=1.0 if options.kappa is None else options.kappa,
            size=options.size,
        )
        outcome = StepOutcome(photo.array, np.zeros(photo.array.shape[:2], np.float32))
        tell_doubts(prepared, targets[0])
        for number, plan in enumerate(plans):
            if plan.is_identity:
                continue
            grey = _mask(mask, plan, photo)
            said = _numbered(progress, number, plans)
            step = runner.run(targets, prepared.others, prepared.things, plan, grey, settings, said)
            step.mask = np.maximum(step.mask, outcome.mask)
            outcome = step
            if number + 1 < len(plans):
                name = targets[0].name
                targets = [
                    self.locator.read_aligned(outcome.photo, t.photo_from_crop, name)
                    for t in targets
                ]
        return self._result(photo, prepared.recipe, outcome, timings, options, targets)

    def _pictures(
        self,
        recipe: Recipe,
        plans: tuple[Plan, ...],
        given: Mapping[str, Picture],
        timings: dict[str, float],
    ) -> tuple[dict[str, LocatedFace], dict[str, Photo]]:
        """Decompose the faces and read the things that the plans use."""
        things = {plan.place.picture for plan in plans if plan.place is not None}
        faces = set().union(*(plan.faces for plan in plans)) - {TARGET, NONE}
        known: dict[str, Picture] = {**recipe.photos, **given}
        if missing := sorted((faces | things) - known.keys()):
            raise RecipeError(f"the edit needs the picture {missing[0]!r}, which was not given")
        largest = FaceChoice()
        with timed(timings, "read"):
            read = {name: _photo(known[name]) for name in sorted(faces | things)}
        others = {
            name: self.locator.find(read[name], largest, timings)[0] for name in sorted(faces)
        }
        return others, {name: read[name] for name in sorted(things)}

    def _result(
        self,
        photo: Photo,
        recipe: Recipe,
        outcome: StepOutcome,
        timings: dict[str, float],
        options: EditOptions,
        targets: list[LocatedFace],
    ) -> Result:
        pairs = zip(outcome.references, outcome.outputs, strict=True)
        crops = [
            CropPair(reference=Image.fromarray(a), output=Image.fromarray(b)) for a, b in pairs
        ]
        result = Result(
            edit_id=_edit_id(photo, recipe, options),
            image=Image.fromarray(outcome.photo),
            mask=outcome.mask,
            recipe=recipe,
            photo=photo,
            crops=crops,
            representations=outcome.faces or [t.representation for t in targets],
            timings=timings,
            marked=options.mark and recipe.output.mark and bool(outcome.outputs),
        )
        if result.marked:
            with timed(timings, "mark"):
                marked = _marked(outcome.photo, outcome.mask, result.edit_id)
            result.image = Image.fromarray(marked)
        return result


def _marked(
    pixels: NDArray[np.uint8], mask: NDArray[np.float32], edit_id: int
) -> NDArray[np.uint8]:
    from facex.safety.mark import embed, payload_of

    return np.asarray(embed(pixels, payload_of(edit_id), mask))


def _edit_id(photo: Photo, recipe: Recipe, options: EditOptions) -> int:
    """24 bits that name the edit; the same edit of the same photo again has the same name."""
    if options.edit_id is not None:
        return options.edit_id & 0xFFFFFF
    digest = hashlib.sha256(photo.array.tobytes())
    digest.update(f"{recipe.model_dump_json()} {options.seed} {options.steps}".encode())
    return int.from_bytes(digest.digest()[:3], "big")


def _photo(image: Picture) -> Photo:
    return image if isinstance(image, Photo) else read_photo(image)


def _mask(mask: Any, plan: Plan, photo: Photo) -> NDArray[np.float32] | None:
    if not plan.by_mask:
        return None
    source = plan.mask if plan.mask is not None else mask
    if source is None:
        raise OptionError("this edit needs a mask (white = redraw): give --mask FILE")
    if isinstance(source, np.ndarray) and source.shape == photo.array.shape[:2]:
        return source.astype(np.float32)
    return read_mask(source, photo.size)


def _numbered(progress: Progress | None, number: int, plans: tuple[Plan, ...]) -> Progress | None:
    if progress is None or len(plans) == 1:
        return progress

    def report(done: int, total: int, what: str) -> None:
        progress(number * total + done, total * len(plans), f"step {number + 1}: {what}")

    return report
