# SPDX-License-Identifier: Apache-2.0
"""Following chosen faces through a clip.

A face that is being followed is found again from its last landmarks; the detector looks when a
face is lost, when the picture cuts, and now and then to be sure. Who somebody is, is decided by
identity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facex.detect.choose import FaceChoice, choose_faces
from facex.detect.detector import Detection
from facex.errors import NoFaceFound
from facex.ford.representation import FaceRepresentation
from facex.imaging.read import read_photo
from facex.imaging.warp import Similarity, ffhq_alignment
from facex.locate import FaceLocator
from facex.video.clip import Clip, Frame
from facex.video.smooth import smooth

Floats = NDArray[np.float64]

_RECHECK: Final = 15
"""Frames after which the detector looks although no face is lost."""
_SAME: Final = 0.3
"""Cosine of identity above which a face that appears is one that was followed before."""
_DRIFTED: Final = 0.12
"""Cosine below which what is followed is no longer that face (turned heads score low)."""
_CUT: Final = 28.0
"""Mean change of a 64 px grey picture, of 255, that is a cut."""
_JUMP: Final = 0.6
"""Sides of its crop by which a face may move within a frame, or grow."""


@dataclass
class Track:
    """One person through a clip.

    Attributes:
        first: as the person was first seen.
        points: landmarks ``(478, 3)`` in pixels of the frame, by frame; z in the same scale.
        starts: frames at which following began anew, so that nothing is smoothed across them.
    """

    first: FaceRepresentation
    points: dict[int, Floats] = field(default_factory=dict)
    starts: list[int] = field(default_factory=list)
    frame: Similarity | None = None
    """Where the face was in the frame before; None while it is lost."""


def track_faces(
    locator: FaceLocator,
    clip: Clip,
    choice: FaceChoice,
    report: Callable[[int], None] | None = None,
) -> tuple[list[Track], list[float]]:
    """Follow the chosen faces through a clip.

    Args:
        locator: finds faces and landmarks.
        clip: to look at.
        choice: which faces: of the first frame that shows any; ``all`` also those that come later.
        report: called with the number of frames that are done.

    Returns:
        The tracks, and the time of every frame in seconds.

    Raises:
        NoFaceFound: no frame shows the chosen face.
    """
    follower = _Follower(locator, choice)
    times = []
    for frame in clip.frames():
        follower.see(frame)
        times.append(float(frame.time))
        if report is not None:
            report(frame.index + 1)
    if not follower.tracks:
        raise NoFaceFound(
            f"the face that was asked for was found in no frame of {clip.path.name}; use a clip in "
            "which it is seen from the front, at least 60 pixels wide"
        )
    return follower.tracks, times


class _Follower:
    def __init__(self, locator: FaceLocator, choice: FaceChoice) -> None:
        self.locator, self.choice = locator, choice
        self.tracks: list[Track] = []
        self.before: NDArray[np.float32] | None = None
        self.wanted: Tensor | None = None
        if choice.photo is not None:
            photo = read_photo(choice.photo)
            self.wanted = locator.find(photo, FaceChoice())[0].representation.identity

    def see(self, frame: Frame) -> None:
        """Follow, lose and find faces in the next frame."""
        small = cv2.resize(cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2GRAY), (64, 64))
        now = cv2.GaussianBlur(small, (5, 5), 0).astype(np.float32)
        cut = self.before is not None and float(np.abs(now - self.before).mean()) > _CUT
        self.before = now
        for track in self.tracks:
            if cut:
                track.frame = None
            if track.frame is not None:
                self._follow(track, frame)
        lost = not self.tracks or any(track.frame is None for track in self.tracks)
        due = frame.index % _RECHECK == 0
        if cut or due or (lost and frame.index % 3 == 0):
            self._look(frame)

    def _follow(self, track: Track, frame: Frame) -> None:
        last = track.frame
        if last is None:
            return
        points = self._points(frame.pixels, last)
        found = ffhq_alignment(points[:, :2], self.locator.crop_size)
        side = last.scale * self.locator.crop_size
        middle = np.full((1, 2), self.locator.crop_size / 2)
        moved = float(np.linalg.norm(found.apply(middle) - last.apply(middle))) / side
        if max(moved, abs(np.log(found.scale / last.scale))) > _JUMP:
            track.frame = None
            return
        track.frame, track.points[frame.index] = found, points

    def _look(self, frame: Frame) -> None:
        found = self.locator.detector(frame.pixels)
        for track in self.tracks:
            if track.frame is None:
                continue
            mine = [d for d in found if self._covers(track.frame, d)]
            found = [d for d in found if d not in mine]
            if not mine and self._likeness(track, frame, track.frame) < _DRIFTED:
                track.frame = None
                track.points.pop(frame.index, None)
        if not found or (self.tracks and not self._open()):
            return
        seen = [(d, self.locator.read(frame.pixels, d, "the clip")) for d in found]
        for track in self.tracks:
            if track.frame is None and seen:
                scores = [float((f.representation.identity * track.first.identity).sum())
                          for _, f in seen]  # fmt: skip
                best = int(np.argmax(scores))
                if scores[best] > _SAME:
                    self._begin(track, frame, seen.pop(best)[1].photo_from_crop)
        if seen and (not self.tracks or self.choice.kind == "all"):
            for index in self._chosen([d for d, _ in seen], [f.representation for _, f in seen]):
                face = seen[index][1]
                self.tracks.append(Track(face.representation))
                self._begin(self.tracks[-1], frame, face.photo_from_crop)

    def _open(self) -> bool:
        """Whether somebody is still looked for."""
        return self.choice.kind == "all" or any(track.frame is None for track in self.tracks)

    def _chosen(self, found: list[Detection], faces: list[FaceRepresentation]) -> list[int]:
        wanted = self.wanted

        def likeness(_: object) -> list[float]:
            return [float((f.identity * wanted).sum()) for f in faces] if wanted is not None else []

        try:
            return choose_faces(found, self.choice, likeness)
        except NoFaceFound:
            return []  # perhaps a later frame shows it

    def _begin(self, track: Track, frame: Frame, where: Similarity) -> None:
        points = self._points(frame.pixels, where)
        track.frame = ffhq_alignment(points[:, :2], self.locator.crop_size)
        track.points[frame.index] = points
        track.starts.append(frame.index)

    @torch.inference_mode()
    def _points(self, pixels: NDArray[np.uint8], where: Similarity) -> Floats:
        return self.locator.landmarks(pixels, self.locator.settle(pixels, where, rounds=1))

    def _likeness(self, track: Track, frame: Frame, where: Similarity) -> float:
        face = self.locator.read_aligned(frame.pixels, where, "the clip")
        return float((face.representation.identity * track.first.identity).sum())

    def _covers(self, where: Similarity, detection: Detection) -> bool:
        x, y = where.apply(np.full((1, 2), self.locator.crop_size / 2))[0]
        x0, y0, x1, y1 = detection.box
        margin = 0.25 * (x1 - x0)
        return bool(x0 - margin < x < x1 + margin and y0 - margin < y < y1 + margin)


def smooth_track(track: Track, times: list[float], crop_size: int) -> dict[int, Floats]:
    """Landmarks of a track without trembling, by frame.

    Every unbroken run is smoothed on its own; the unit is the side of the face's crop.
    """
    smoothed: dict[int, Floats] = {}
    for run in _runs(track):
        points = np.stack([track.points[index] for index in run])
        side = ffhq_alignment(points[0, :, :2], crop_size).scale * crop_size
        calm = smooth(points, np.array([times[index] for index in run]), side)
        smoothed.update(zip(run, calm, strict=True))
    return smoothed


def _runs(track: Track) -> list[list[int]]:
    runs: list[list[int]] = []
    for index in sorted(track.points):
        if not runs or index != runs[-1][-1] + 1 or index in track.starts:
            runs.append([])
        runs[-1].append(index)
    return runs
