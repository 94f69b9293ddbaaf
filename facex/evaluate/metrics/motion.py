# SPDX-License-Identifier: Apache-2.0
"""Motion: pose, gaze and expression against the picture they come from, and sliders.

Pose error is the angle of the rotation between the two heads, which is never smaller than the mean
of the three angles' errors. A slider's slope is that of measured against asked change through the
origin (1 is exact, 0 is nothing); its cross-talk is what else moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from facex.evaluate.bootstrap import Interval, quick_interval_of
from facex.evaluate.judges import Reading
from facex.evaluate.view import Measure, Values, View
from facex.geometry.pose import euler_from_rotation
from facex.recipes.plan import Motion
from facex.recipes.values import TARGET
from facex.types import BLENDSHAPES, Factor

MEASURES: Final = {
    "pose_deg": Measure("pose error, degrees (mesh fit)", "down"),
    "head_deg": Measure("pose error, degrees (head-pose network, mean of three angles)", "down"),
    "gaze_deg": Measure("gaze error, degrees", "down"),
    "blendshapes": Measure("blendshapes, mean absolute error", "down"),
    "landmarks": Measure("landmark distance, % of the eyes' distance", "down"),
    "slider_missed": Measure("missed of the asked change, 0 is exact, 1 like nothing done", "down"),
    "cross_pose_deg": Measure("head turned although not asked, degrees", "down"),
    "cross_gaze_deg": Measure("eyes turned although not asked, degrees", "down"),
    "cross_blendshapes": Measure("blendshapes moved although not asked", "down"),
    "cross_skin": Measure("skin colour moved although not asked, CIELAB", "down"),
    "cross_light": Measure("fitted light moved although not asked, share of it", "down"),
}
_AXES: Final = ("yaw", "pitch", "roll")


def measures(name: str) -> Measure | None:
    """What a number of this file means."""
    kind, _, axis = name.partition(":")
    if kind == "slope":
        return Measure(f"slope of measured against asked change, {axis}", "up")
    if kind == "correlation":
        return Measure(f"correlation of measured and asked change, {axis}", "up")
    if kind in ("asked", "moved"):
        return Measure(f"{kind} change, {axis}", "none")
    return MEASURES.get(name)


def measure(view: View) -> Values:
    """Angles in degrees, blendshapes in [0, 1], and asked and moved change of every slider."""
    out, target = view.reading, view.readings[TARGET]
    if "rotation" not in out or "rotation" not in target:
        return {}
    slid = [plan.motion for plan in view.plans]
    values: Values = {}
    turned = any(motion.turns_head for motion in slid)
    asked = asked_changes(slid, target)
    pose_owner = view.readings[view.owner(Factor.POSE.value)]
    angle = rotation_angle(out["rotation"], pose_owner["rotation"])
    if not any(axis in asked for axis in _AXES):
        values["pose_deg"] = angle
        if "head" in out:
            gap = np.rad2deg(np.abs(out["head"] - pose_owner["head"]))
            values["head_deg"] = float(gap.mean())
    looks = any(m.gaze_yaw or m.gaze_pitch for m in slid)
    gaze_owner = view.owner(Factor.GAZE.value)
    if not looks and (not turned or gaze_owner != TARGET):
        values["gaze_deg"] = gaze_angle(out["gaze"], view.readings[gaze_owner]["gaze"])
    if not any(motion.blendshapes for motion in slid):
        source = view.readings[view.owner(Factor.EXPRESSION.value)]
        values["blendshapes"] = float(np.abs(out["blendshapes"] - source["blendshapes"]).mean())
    roles = {view.owner(f.value) for f in (Factor.IDENTITY, Factor.POSE, Factor.EXPRESSION)}
    if not asked and len(roles) == 1:
        values["landmarks"] = landmark_distance(out, view.readings[roles.pop()])
    moved = moved_changes(out, target, asked)
    values |= {f"asked:{axis}": change for axis, change in asked.items()}
    values |= {f"moved:{axis}": moved[axis] for axis in asked}
    if power := sum(abs(change) for change in asked.values()):
        missed = sum(abs(moved[axis] - change) for axis, change in asked.items())
        values["slider_missed"] = missed / power
    if asked and set(view.owners) <= {Factor.BACKGROUND.value}:
        values |= _cross_talk(out, target, slid)
    return values


def summarise(rows: Sequence[Mapping[str, float]]) -> dict[str, Interval]:
    """Slope and correlation of every slider over all cases, and of all together.

    The slope of all together resamples whole cases, since a case may move several sliders.
    """
    values: dict[str, Interval] = {}
    for axis, table in slider_tables(rows).items():
        values[f"slope:{axis}"] = quick_interval_of(table, slopes)
        asked, moved = (part[part != 0] for part in np.moveaxis(table, -1, 0))
        if len(table) > 2 and len(set(asked)) > 1 and len(set(moved)) > 1:
            values[f"correlation:{axis}"] = quick_interval_of(table, correlations)
    return values


def slider_tables(rows: Sequence[Mapping[str, float]]) -> dict[str, NDArray[np.float64]]:
    """Asked and moved change of every slider: ``(cases, moves of a case, 2)`` by axis.

    Cases with fewer moves than others are filled up with zeros, which no statistic here counts.
    """
    found: dict[str, list[list[tuple[float, float]]]] = {}
    for row in rows:
        moves: dict[str, list[tuple[float, float]]] = {}
        for name, asked in row.items():
            kind, _, axis = name.partition(":")
            if kind == "asked" and f"moved:{axis}" in row:
                pair = (asked, row[f"moved:{axis}"])
                moves[axis] = [pair]
                moves.setdefault("all", []).append(pair)
        for axis, pairs in moves.items():
            found.setdefault(axis, []).append(pairs)
    tables = {}
    for axis, cases in found.items():
        most = max(len(pairs) for pairs in cases)
        tables[axis] = np.array([p + [(0.0, 0.0)] * (most - len(p)) for p in cases], np.float64)
    return tables


def slopes(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slopes ``(B,)`` of tables ``(B, N, M, 2)``; 0 where nothing was asked."""
    asked, moved = tables[..., 0], tables[..., 1]
    power = (asked * asked).sum((1, 2))
    return np.asarray((asked * moved).sum((1, 2)) / np.where(power > 0, power, np.inf))


def correlations(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlations ``(B,)`` of tables ``(B, N, M, 2)``; NaN where nothing varies."""
    there = (tables != 0).any(-1).astype(np.float64)
    count = np.maximum(there.sum((1, 2)), 1)
    centred = tables - ((tables * there[..., None]).sum((1, 2)) / count[:, None])[:, None, None]
    a, b = centred[..., 0] * there, centred[..., 1] * there
    scale = np.sqrt((a * a).sum((1, 2)) * (b * b).sum((1, 2)))
    return np.asarray((a * b).sum((1, 2)) / np.where(scale > 1e-12, scale, np.nan))


def rotation_angle(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Degrees of the rotation between two rotations ``(3, 3)``."""
    cosine = (np.trace(np.asarray(first, np.float64).T @ second) - 1) / 2
    # Near 0 the arc cosine of a rounded number is useless: the sine's half angle is exact.
    chord = np.linalg.norm(np.asarray(first, np.float64) - second) / np.sqrt(8)
    angle = 2 * np.arcsin(min(chord, 1.0)) if cosine > 0 else np.arccos(max(cosine, -1.0))
    return float(np.rad2deg(angle))


def gaze_vector(angles: NDArray[Any]) -> NDArray[np.float64]:
    """Direction of pitch and yaw: x right, y up, z towards the camera."""
    pitch, yaw = (float(v) for v in angles)
    return np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])


def gaze_angle(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Degrees between two directions given as pitch and yaw."""
    gap = np.linalg.norm(gaze_vector(first) - gaze_vector(second)) / 2
    return float(np.rad2deg(2 * np.arcsin(min(float(gap), 1.0))))


def landmark_distance(first: Reading, second: Reading) -> float:
    """Mean distance of the landmarks in the picture, in % of the distance of the irises."""
    gap = np.linalg.norm(first["points"][:, :2] - second["points"][:, :2], axis=1).mean()
    eyes = np.linalg.norm(second["points"][468, :2] - second["points"][473, :2])
    return float(100 * gap / max(float(eyes), 1e-6))


def angles_of(reading: Reading) -> dict[str, float]:
    """Yaw, pitch and roll in degrees."""
    rotation = torch.from_numpy(np.asarray(reading["rotation"], np.float64))
    found = euler_from_rotation(rotation)
    return {axis: float(torch.rad2deg(v)) for axis, v in zip(_AXES, found, strict=True)}


def asked_changes(motions: Sequence[Motion], target: Reading) -> dict[str, float]:
    """What sliders ask for: degrees by axis, and blendshapes against the target's own value."""
    asked: dict[str, float] = {}
    for motion in motions:
        for axis in (*_AXES, "gaze_yaw", "gaze_pitch"):
            if turn := float(np.rad2deg(getattr(motion, axis))):
                asked[axis] = asked.get(axis, 0.0) + turn
        for name, value in motion.blendshapes.items():
            asked[name] = value - float(target["blendshapes"][BLENDSHAPES.index(name)])
    return asked


def moved_changes(out: Reading, target: Reading, wanted: Mapping[str, float]) -> dict[str, float]:
    """What really changed, in the same units."""
    before, after = angles_of(target), angles_of(out)
    gaze = np.rad2deg(out["gaze"] - target["gaze"])
    moved = {axis: after[axis] - before[axis] for axis in _AXES}
    moved |= {"gaze_pitch": float(gaze[0]), "gaze_yaw": float(gaze[1])}
    for name in wanted:
        if name in BLENDSHAPES:
            index = BLENDSHAPES.index(name)
            moved[name] = float(out["blendshapes"][index] - target["blendshapes"][index])
    return moved


def _cross_talk(out: Reading, target: Reading, motions: Sequence[Motion]) -> Values:
    values: Values = {}
    turned = {axis for m in motions for axis in _AXES if getattr(m, axis)}
    looks = any(m.gaze_yaw or m.gaze_pitch for m in motions)
    shapes = {name for m in motions for name in m.blendshapes}
    before, after = angles_of(target), angles_of(out)
    others = [abs(after[axis] - before[axis]) for axis in _AXES if axis not in turned]
    values["cross_pose_deg"] = float(np.mean(others)) if others else 0.0
    if not turned and not looks:
        values["cross_gaze_deg"] = gaze_angle(out["gaze"], target["gaze"])
    gap = np.abs(out["blendshapes"] - target["blendshapes"])
    still = [i for i, name in enumerate(BLENDSHAPES) if name not in shapes]
    values["cross_blendshapes"] = float(gap[still].mean())
    if "skin" in out:
        values["cross_skin"] = float(np.linalg.norm(out["skin"] - target["skin"]))
    if "light" in out:
        gap_of_light = float(np.linalg.norm(out["light"] - target["light"]))
        values["cross_light"] = gap_of_light / max(float(np.linalg.norm(target["light"])), 1e-9)
    return values
