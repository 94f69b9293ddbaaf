# SPDX-License-Identifier: Apache-2.0
"""Reading of uploads and previews: the analysis alone, loaded when first needed."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facex.detect.choose import FaceChoice, choose_faces, left_to_right
from facex.detect.detector import Detection, Detector
from facex.geometry.pose import euler_from_rotation
from facex.geometry.topology import FACE_OVAL
from facex.imaging.read import Photo
from facex.imaging.warp import Similarity
from facex.locate import FaceLocator, LocatedFace
from facex.server.refusals import Refused
from facex.server.schemas import FaceInfo
from facex.types import BLENDSHAPES

_KEPT_FACES: Final = 16
_AT_ONCE: Final = 4
"""Uploads, previews and looks at factors that are computed at the same time."""
_PATIENCE: Final = 20.0
"""Seconds that one more waits for its turn."""


class _OneAtATime:
    """A detector that threads may share."""

    def __init__(self, detector: Detector) -> None:
        self._detector, self._lock = detector, threading.Lock()

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        with self._lock:
            return self._detector(image)


class Reader:
    """Finds and decomposes faces.

    Args:
        load: makes what does it; called once, when something needs it.
        max_faces: photos with more faces are refused.
    """

    def __init__(self, load: Callable[[], FaceLocator], *, max_faces: int = 30) -> None:
        self._load, self.max_faces = load, max_faces
        self._turns = threading.BoundedSemaphore(_AT_ONCE)
        self._lock = threading.Lock()
        self._locator: FaceLocator | None = None
        self._faces: OrderedDict[tuple[str, int], LocatedFace] = OrderedDict()

    @property
    def loaded(self) -> bool:
        """Whether the networks are there already."""
        return self._locator is not None

    @property
    def locator(self) -> FaceLocator:
        """The networks; the first call takes seconds.

        Raises:
            ModelNotFound, WeightsCorrupt, OptionError: as ``FaceX.from_pretrained``.
        """
        with self._lock:
            if self._locator is None:
                self._locator = self._load()
                self._locator.detector = _OneAtATime(self._locator.detector)
            return self._locator

    @contextmanager
    def turn(self, patience: float = _PATIENCE) -> Iterator[None]:
        """Hold one of the few places for work in the process that answers requests.

        Args:
            patience: seconds to wait for one.

        Raises:
            Refused: 429, all of them are taken.
        """
        if not self._turns.acquire(timeout=patience):
            raise Refused(
                429, "Busy", "too many photos are being read at once; try again in 5 seconds",
                retry_after=5,
            )  # fmt: skip
        try:
            yield
        finally:
            self._turns.release()

    def read(self, photo: Photo) -> list[tuple[FaceInfo, LocatedFace]]:
        """All faces of a photo, numbered as the library numbers them; none is no error here.

        Raises:
            Refused: 422, a crowd: each face would be decomposed, and asked about its age.
        """
        locator = self.locator
        found = locator.detector(photo.array)
        if not found:
            return []
        if len(found) > self.max_faces:
            raise Refused(
                422,
                "TooManyFaces",
                f"{len(found)} faces were found in this photo, at most {self.max_faces} are read "
                "here; crop it to those that matter",
            )
        main = choose_faces(found, FaceChoice())[0]
        faces = []
        for number, index in enumerate(left_to_right(found), 1):
            face = locator.read(photo.array, found[index], "the photo")
            faces.append((describe(number, face, main=index == main), face))
        return faces

    def keep(self, photo: str, number: int, face: LocatedFace) -> None:
        """Remember a decomposed face, so that previews need not read it again."""
        with self._lock:
            self._faces[photo, number] = face
            self._faces.move_to_end((photo, number))
            while len(self._faces) > _KEPT_FACES:
                self._faces.popitem(last=False)

    def face(self, photo: str, number: int, read: Callable[[], LocatedFace]) -> LocatedFace:
        """A face of a stored photo, from memory or read again."""
        with self._lock:
            known = self._faces.get((photo, number))
        if known is None:
            known = read()
            self.keep(photo, number, known)
        return known

    def forget(self, photo: str) -> None:
        """Drop what is remembered of a photo."""
        with self._lock:
            for key in [key for key in self._faces if key[0] == photo]:
                del self._faces[key]


def describe(number: int, face: LocatedFace, *, main: bool) -> FaceInfo:
    """What clients are told of a face."""
    rep = face.representation
    outline = face.photo_from_crop.apply(rep.landmarks[0, list(FACE_OVAL), :2].double().numpy())
    corner, other = outline.min(axis=0), outline.max(axis=0)
    yaw, pitch, roll = (math.degrees(float(a[0])) for a in euler_from_rotation(rep.rotation))
    values = rep.expression[0, : len(BLENDSHAPES)].clamp(0, 1).tolist()
    named = zip(BLENDSHAPES[1:], values[1:], strict=True)
    return FaceInfo(
        number=number,
        main=main,
        box=(float(corner[0]), float(corner[1]), float(other[0]), float(other[1])),
        outline=[(round(float(x), 1), round(float(y), 1)) for x, y in outline],
        frame=canvas_transform(face.photo_from_crop),
        crop_size=rep.crop_size,
        yaw=round(yaw, 1),
        pitch=round(pitch, 1),
        roll=round(roll, 1),
        expression={name: round(value, 3) for name, value in named},
    )


def canvas_transform(
    frame: Similarity,
) -> tuple[float, float, float, float, float, float]:
    """A frame as ``CanvasRenderingContext2D.setTransform`` takes it: a, b, c, d, e, f."""
    (a, c, e), (b, d, f) = frame.matrix.tolist()
    return a, b, c, d, e, f


def frame_of(info: FaceInfo) -> Similarity:
    """The inverse of :func:`canvas_transform`."""
    a, b, c, d, e, f = info.frame
    return Similarity(np.array([[a, c, e], [b, d, f]]))
