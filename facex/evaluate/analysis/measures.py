# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of the analysis: errors of one face, recognition over pairs, overlap of masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facex.evaluate.bootstrap import Interval, interval_of
from facex.evaluate.judges import Reading
from facex.evaluate.metrics.motion import angles_of, gaze_angle
from facex.types import PARSING_CLASSES

Floats = NDArray[np.floating[Any]]
_PUPILS: Final = (468, 473)
FALSE_ACCEPTS: Final = 0.01
"""Share of pairs of different people that a threshold lets through."""
_DRAWS: Final = 200


def face_errors(found: Reading, truth: Reading) -> dict[str, float]:
    """Errors of one face; which there are depends on what both have.

    ``landmarks`` mean distance in % of the distance of the pupils; ``eyes`` and ``mouth`` the same
    of their points; ``pose_deg`` mean absolute error of yaw, pitch and roll; ``gaze_deg`` angle
    between the looks; ``blendshapes`` mean absolute error.
    """
    errors: dict[str, float] = {}
    gap = np.linalg.norm(found["points"][:, :2] - truth["points"][:, :2], axis=1)
    pupils = np.linalg.norm(truth["points"][_PUPILS[0], :2] - truth["points"][_PUPILS[1], :2])
    errors["landmarks"] = float(100 * gap.mean() / max(float(pupils), 1e-6))
    one, two = angles_of(found), angles_of(truth)
    turns = [abs((one[axis] - two[axis] + 180) % 360 - 180) for axis in one]
    errors["pose_deg"] = float(np.mean(turns))
    errors["gaze_deg"] = gaze_angle(found["gaze"], truth["gaze"])
    if found["blendshapes"].shape == truth["blendshapes"].shape:
        gaps = np.abs(found["blendshapes"] - truth["blendshapes"])
        errors["blendshapes"] = float(gaps.mean())
    return errors


class Pairs(NamedTuple):
    """Same and different people among probes and a gallery.

    Attributes:
        same: cosine of every pair of one person.
        people: who that is, for every such pair.
        different: cosines of all other pairs, sorted.
    """

    same: Floats
    people: tuple[str, ...]
    different: Floats

    @classmethod
    def of(
        cls,
        probes: Floats,
        gallery: Floats,
        probe_names: Sequence[str],
        gallery_names: Sequence[str],
        person: Mapping[str, str],
    ) -> Pairs:
        """All pairs of two different pictures, each once.

        Args:
            probes: ``(N, D)`` unit rows.
            gallery: ``(M, D)`` unit rows.
            probe_names: names of the pictures of ``probes``.
            gallery_names: names of the pictures of ``gallery``.
            person: who a picture shows.
        """
        scores = probes @ gallery.T
        rows, columns = np.array(probe_names)[:, None], np.array(gallery_names)[None]
        # A pair counts once, also where its two pictures are both among the probes.
        both = np.isin(columns, probe_names) & np.isin(rows, gallery_names)
        counts = (rows != columns) & (~both | (rows < columns))
        who, whom = (np.array([person[n] for n in names]) for names in (probe_names, gallery_names))
        same = who[:, None] == whom[None]
        place = np.argwhere(same & counts)
        return cls(
            scores[tuple(place.T)],
            tuple(str(who[row]) for row, _ in place),
            np.sort(scores[~same & counts]),
        )

    def auc(self) -> Interval:
        """Chance that a pair of one person is nearer than one of two people."""
        below = np.searchsorted(self.different, self.same, "left")
        upto = np.searchsorted(self.different, self.same, "right")
        return self._over_people((below + upto) / 2 / max(len(self.different), 1))

    def tar(self, accepts: float = FALSE_ACCEPTS) -> Interval:
        """Share of pairs of one person above the threshold that ``accepts`` of the others pass."""
        if len(self.different) == 0:
            return self._over_people(np.zeros(0))
        limit = np.quantile(self.different, 1 - accepts)
        return self._over_people((self.same > limit).astype(np.float64))

    def _over_people(self, values: Floats) -> Interval:
        """Mean in which every person counts once, however many pairs; people are resampled."""
        parts: dict[str, list[float]] = {}
        for who, value in zip(self.people, values, strict=True):
            parts.setdefault(who, []).append(float(value))
        means = [float(np.mean(part)) for part in parts.values()]
        if not means:
            return Interval(float("nan"), float("nan"), float("nan"), 0)
        return interval_of(means, lambda rows: float(np.mean(rows)))


def overlap_counts(found: NDArray[np.uint8], truth: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Pixels ``(19, 3)`` of each class: in both, in ``found``, in ``truth``; 255 is left out."""
    count = len(PARSING_CLASSES)
    valid = truth < count
    one, two = found[valid].astype(np.int64), truth[valid].astype(np.int64)
    hit = np.bincount(one[one == two], minlength=count)
    return np.stack([hit, np.bincount(one, minlength=count), np.bincount(two, minlength=count)], 1)


def f1_of(counts: Floats) -> Floats:
    """F1 ``(..., 19)`` of counts ``(..., 19, 3)``; NaN for classes that the truth lacks."""
    hit, found, truth = (counts[..., k].astype(np.float64) for k in range(3))
    with np.errstate(divide="ignore", invalid="ignore"):
        score = 2 * hit / (found + truth)
    return np.asarray(np.where(truth > 0, score, np.nan))


F1_GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "hair": ("hair",), "skin": ("skin",), "brows": ("l_brow", "r_brow"),
    "eyes": ("l_eye", "r_eye"), "nose": ("nose",), "lips": ("u_lip", "l_lip"),
    "glasses": ("eye_g",), "hat": ("hat",), "neck": ("neck",), "cloth": ("cloth",),
    "mean": tuple(name for name in PARSING_CLASSES if name not in ("ear_r", "neck_l")),
}  # fmt: skip
"""Groups of classes whose F1 are averaged; earrings and necklaces have no true masks anywhere."""


def f1_intervals(counts: Sequence[NDArray[np.int64]], prefix: str = "f1_") -> dict[str, Interval]:
    """F1 over the pooled pixels of all pictures, by group of classes; pictures are resampled."""
    found: dict[str, Interval] = {}
    for group, names in F1_GROUPS.items():
        ids = [PARSING_CLASSES.index(name) for name in names]

        def pooled(rows: Sequence[Any], ids: list[int] = ids) -> float:
            scores = f1_of(np.sum(rows, 0))[ids]
            return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")

        interval = interval_of(list(counts), pooled)
        if np.isfinite(interval.value):
            found[prefix + group] = interval
    return found


_MIRROR: Final = np.tile([1, 1, 1, -1, -1, 1, 1, -1, 1], 3)
"""Harmonics that are odd in x change sign (order: 1, y, z, x, xy, yz, zz, xz, xx - yy)."""


def light_error(light: Floats, mirrored: Floats) -> float:
    """Relative difference of the light ``(27,)`` of a photo and of its mirror image."""
    gap = np.linalg.norm(np.asarray(mirrored, np.float64) * _MIRROR - light)
    return float(gap / max(float(np.linalg.norm(light)), 1e-9))
