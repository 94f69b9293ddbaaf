# SPDX-License-Identifier: Apache-2.0
"""Bodies of requests and replies. What an edit is, is said by the recipe models themselves."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from facex.recipes.schema import Model, Recipe, Sliders
from facex.recipes.tasks import Needs
from facex.recipes.values import PhotoName, PlaceKind, RegionKey, Text, Unit

ID_PATTERN: Final = r"^[0-9a-f]{32}$"
Id = Annotated[str, Field(pattern=ID_PATTERN, description="Id that the service gave.")]
FaceChoiceText = Annotated[str, Field(pattern=r"^(largest|all|[1-9][0-9]{0,2})$")]


# As lists of so many numbers: what is described item by item, many readers of OpenAPI get wrong.
Numbers2 = Annotated[tuple[float, ...], Field(min_length=2, max_length=2)]
Numbers6 = Annotated[tuple[float, ...], Field(min_length=6, max_length=6)]


class Reply(BaseModel):
    """Base of everything that the service answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Problem(Reply):
    """Every error, whatever its status.

    Attributes:
        error: name of the kind, for programs.
        message: one sentence, for people.
    """

    error: str
    message: str


class FaceInfo(Reply):
    """One face of a photo.

    Attributes:
        number: from 1, left to right; what ``faces`` of an edit takes.
        main: this is the one that ``largest`` means.
        box: x0, y0, x1, y1 around the face, photo pixels.
        outline: the face's oval, photo pixels.
        frame: ``[a, b, c, d, e, f]`` of a canvas transform, crop pixels to photo pixels.
        crop_size: side of the crop in its own pixels.
        yaw: degrees, + to the picture's right.
        pitch: degrees, + up.
        roll: degrees, + clockwise.
        expression: blendshapes by name, 0 to 1.
    """

    number: int
    main: bool
    box: tuple[float, float, float, float]
    outline: list[tuple[float, float]]
    frame: tuple[float, float, float, float, float, float]
    crop_size: int
    yaw: float
    pitch: float
    roll: float
    expression: dict[str, float]


class PhotoInfo(Reply):
    """An uploaded photo.

    Attributes:
        id: its name in every other request.
        label: the file's name, for people only.
        width: pixels, upright.
        height: pixels, upright.
        created: seconds since 1970.
        faces: left to right; may be empty, for example for a picture of glasses.
        kept: this is one face kept from a photo, cut out with its representation; it can be taken
            from, but not edited.
        made_by: id of the job whose result this is; what a page undoes goes back along it.
    """

    id: str
    label: str
    width: int
    height: int
    created: float
    faces: list[FaceInfo]
    kept: bool = False
    made_by: str | None = None


class EditOrder(Model):
    """What comes from whom: a recipe, or a task with what it needs. Files are ids of photos.

    Attributes:
        recipe: a recipe whose ``photos`` hold ids in place of paths, always with ``target``.
        task: name of a row of ``GET /tasks`` in place of a recipe.
        photos: for ``task``: id of ``target`` and, as the row asks, ``source`` and ``driver``.
        regions: for ``task``: what to take.
        sliders: for ``task``: numbers in place of a driver.
        place: for ``task``: the source is no face but this.
        style: for ``task``: the style to draw in.
        faces: which face of a picture; ``largest`` unless named; ``all`` only for the target.
        consent: whoever sends this says that the people shown agree, or that the law allows it;
            needed where the face of one picture goes into another one, in previews too.
    """

    recipe: Recipe | None = None
    task: Text | None = None
    photos: dict[PhotoName, Id] = Field(default_factory=dict)
    regions: Annotated[tuple[RegionKey, ...], Field(max_length=20)] = ()
    sliders: Sliders | None = None
    place: PlaceKind | None = None
    style: Text | None = None
    faces: dict[PhotoName, FaceChoiceText] = Field(default_factory=dict)
    consent: bool = False

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.recipe is None) == (self.task is None):
            raise ValueError("give a recipe or a task, and not both")
        return self


class EditRequest(EditOrder):
    """An edit to be queued.

    Attributes:
        mask: id of an uploaded mask, for recipes that edit by mask.
        seed: of the noise.
        steps: sampling steps; None: the model's own.
        strength: 0 to 1, how far from the reference sampling begins.
        kappa: 0 to 1, trust in the reference.
        size: largest side in pixels at which a face is painted.
        format: of the result.
    """

    mask: Id | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    strength: Unit | None = None
    kappa: Unit | None = None
    size: Annotated[int, Field(ge=64, le=4096)] | None = None
    format: Literal["png", "jpg", "webp"] = "png"


class PreviewRequest(EditOrder):
    """A look at the bare warp, without the generator.

    Attributes:
        mesh: also send the points of the mesh.
    """

    mesh: bool = False


class PreviewReply(Reply):
    """The warped crop.

    Attributes:
        image: JPEG as a data URL, of a square crop.
        frame: canvas transform from the pixels of ``image`` to photo pixels.
        borrowed: it shows somebody's face in another picture, so it is small, marked and striped.
        mesh: x, y of the mesh's points, photo pixels; empty unless asked for.
        milliseconds: spent on it.
    """

    image: str
    frame: Numbers6
    borrowed: bool = False
    mesh: list[Numbers2]
    milliseconds: float


class JobStatus(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL: Final = frozenset({JobStatus.DONE, JobStatus.FAILED, JobStatus.CANCELLED})
"""States that a job does not leave."""


class ResultInfo(Reply):
    """What a finished edit gave.

    Attributes:
        width: pixels.
        height: pixels.
        format: file suffix of the result.
        edit_id: number in the invisible mark and in the metadata, hexadecimal.
        warnings: one sentence each.
        seconds: per stage.
    """

    width: int
    height: int
    format: str
    edit_id: str
    warnings: list[str]
    seconds: dict[str, float]


class JobInfo(Reply):
    """A job.

    Attributes:
        id: its name.
        status: where it is.
        ahead: queued jobs before this one.
        done: sampling steps that are over.
        total: sampling steps in all; 0 while that is not known.
        stage: what is being done.
        created: seconds since 1970.
        error: why it failed.
        result: what it gave.
        target: id of the photo that is edited.
        label: what was done, in a few words.
    """

    id: str
    status: JobStatus
    ahead: int = 0
    done: int = 0
    total: int = 0
    stage: str = ""
    created: float
    error: Problem | None = None
    result: ResultInfo | None = None
    target: str
    label: str


class MaskInfo(Reply):
    """An uploaded mask."""

    id: str
    width: int
    height: int


class TaskInfo(Reply):
    """A row of the task table.

    Attributes:
        name: what ``EditOrder.task`` takes.
        help: one sentence.
        needs: what must or may be given.
        driven: factors that sliders set.
        factors: where each factor comes from, as the row says.
        regions: where regions come from that follow no factor.
        available: whether this model can do it.
    """

    name: str
    help: str
    needs: Needs
    driven: list[str]
    factors: dict[str, str]
    regions: dict[str, str]
    available: bool


class About(Reply):
    """What this service is.

    Attributes:
        version: of FaceX.
        scale: of the model, once it is loaded.
        devices: one worker each.
        limits: of uploads, jobs and the queue.
        content_filters: names of all that are asked about uploads.
        styles: personalised bases that the model has.
        factors, regions, groups: the vocabulary of recipes.
        consent: the sentence that stands beside the request for consent.
        token: a token is wanted.
    """

    version: str
    scale: str
    devices: list[str]
    limits: dict[str, float]
    content_filters: list[str]
    styles: list[str]
    factors: list[str]
    regions: list[str]
    groups: list[str]
    consent: str
    token: bool


RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": Problem, "description": "The body cannot be read."},
    401: {"model": Problem, "description": "The token is missing or wrong."},
    403: {"model": Problem, "description": "Unknown host name, or a request of another page."},
    404: {"model": Problem, "description": "There is no such thing, or it was deleted."},
    409: {"model": Problem, "description": "Consent is missing, or something is still needed."},
    413: {"model": Problem, "description": "Too many bytes."},
    422: {"model": Problem, "description": "It cannot be done as it stands."},
    429: {
        "model": Problem,
        "description": "Too much at once; Retry-After says how many seconds to wait.",
        "headers": {"Retry-After": {"schema": {"type": "integer"}}},
    },
    500: {"model": Problem, "description": "Something went wrong inside."},
    501: {"model": Problem, "description": "The model or an extra is not installed."},
    503: {
        "description": "Too many connections.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    },
}
"""Errors that any route may answer with, for the OpenAPI document."""
