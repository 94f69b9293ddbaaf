# SPDX-License-Identifier: Apache-2.0
"""Measure FORD on a set of faces: labels of the teachers, disturbances, groups, leaks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from facex.evaluate.analysis.changes import CHANGES, CLEAN, Change
from facex.evaluate.analysis.leaks import leak_table
from facex.evaluate.analysis.measures import (
    Pairs,
    f1_intervals,
    face_errors,
    light_error,
    overlap_counts,
)
from facex.evaluate.analysis.reader import FordReader, codes_of
from facex.evaluate.analysis.synthetic import masked_faces
from facex.evaluate.bootstrap import Interval, mean_interval
from facex.evaluate.faces import FaceSet, Pixels
from facex.evaluate.groups import Gap, gaps, groups_of
from facex.evaluate.judges import Judge, Reading, in_chunks
from facex.evaluate.metrics.identity import PREFIX
from facex.evaluate.metrics.motion import angles_of
from facex.evaluate.store import Store

SUBSET: Final = 150
"""Faces that are also read disturbed and mirrored."""
ANALYSIS_VERSION: Final = 1
"""Goes up when readings change, so that kept ones are not mixed with new ones."""
_BATCH: Final = 16

Progress = Callable[[int, int, str], None]


class Disturbed(NamedTuple):
    """Numbers under one disturbance: of every face, and of all together."""

    change: Change
    errors: dict[str, dict[str, float]]
    measures: dict[str, Interval]


@dataclass(frozen=True)
class Analysis:
    """Everything that was found.

    Attributes:
        measures: on the pictures as they are, on all faces.
        disturbed: on the subset, the clean pictures first.
        groups: gaps between groups of people, by measure.
        networks: AUC and TAR of the teachers' recognisers on the same pairs.
        leaks: R2 of each label from each code.
        names: the faces; the subset comes first.
        subset: how many of them were disturbed.
    """

    measures: Mapping[str, Interval]
    disturbed: Sequence[Disturbed]
    groups: Sequence[tuple[str, Gap]]
    networks: Mapping[str, Mapping[str, Interval]]
    leaks: Mapping[str, Mapping[str, float]]
    names: Sequence[str]
    subset: int


@dataclass
class Analyst:
    """Measures FORD.

    Attributes:
        faces: the faces.
        judge: reads the labels; with teachers, or the labels are FORD's own.
        reader: FORD under test.
        store: where readings are kept.
        progress: called with (done, total, what).
    """

    faces: FaceSet
    judge: Judge
    reader: FordReader
    store: Store
    progress: Progress = lambda done, total, what: None

    def run(self, count: int | None = None, subset: int = SUBSET) -> Analysis:
        """Measure on the first ``count`` faces, and on ``subset`` of them under disturbances."""
        names = chosen_names(self.faces)[:count]
        few = names[:subset]
        text = json.dumps([self.judge.names, ANALYSIS_VERSION], sort_keys=True)
        tag = hashlib.sha256(text.encode()).hexdigest()[:8]
        truth = self._read(f"truth-{tag}", names, "labels", self.judge.read)
        clean = self._read(f"ford-{CLEAN.name}-{tag}", names, "FORD", self.reader.read)
        whole = self._measured(CLEAN, names, truth, clean, clean)
        disturbed = [self._measured(CLEAN, few, truth, clean, clean)]
        for change in CHANGES[1:]:
            found = self._read(
                f"ford-{change.name}-{tag}",
                few,
                f"FORD, {change.name}",
                self.reader.read,
                change,
                truth,
            )
            disturbed.append(self._measured(change, few, truth, found, clean))
        mirrored = self._read(f"mirror-{tag}", few, "mirrored", self.reader.mirrored)
        return Analysis(
            measures={**whole.measures, **_mirror_measures(mirrored)},
            disturbed=disturbed,
            groups=self._groups(whole, truth),
            networks={
                key.removeprefix(PREFIX): self._recognition(truth, truth, key, names)
                for key in truth[names[0]]
                if key.startswith(PREFIX)
            },
            leaks=self._leaks(names, clean, truth),
            names=names,
            subset=len(few),
        )

    def _read(
        self,
        file: str,
        names: Sequence[str],
        what: str,
        read: Callable[[list[Pixels]], list[Reading]],
        change: Change = CLEAN,
        labels: Mapping[str, Reading] | None = None,
    ) -> dict[str, Reading]:
        """Readings of (disturbed) faces; those that are kept are not made again."""
        known = self.store.readings(file)
        # A disturbance depends on the place in the list, which must not change with --count.
        places = {name: place for place, name in enumerate(chosen_names(self.faces))}
        missing = [name for name in names if name not in known]
        for part in in_chunks(len(missing), _BATCH):
            self.progress(part.start, len(missing), f"reading {what}")
            pictures = [
                change.picture(self.faces.image(name), places[name], (labels or {}).get(name))
                for name in missing[part]
            ]
            known.update(zip(missing[part], read(pictures), strict=True))
            if part.stop % (8 * _BATCH) == 0 or part.stop == len(missing):
                self.store.save_readings(file, known)
        return {name: known[name] for name in names}

    def _measured(
        self,
        change: Change,
        names: Sequence[str],
        truth: Mapping[str, Reading],
        found: Mapping[str, Reading],
        clean: Mapping[str, Reading],
    ) -> Disturbed:
        places = {name: place for place, name in enumerate(chosen_names(self.faces))}
        errors = {
            name: face_errors(
                found[name], change.labels(truth[name], self.faces.side, places[name])
            )
            for name in names
        }
        kinds = dict.fromkeys(kind for row in errors.values() for kind in row)
        measures = {
            kind: mean_interval([row[kind] for row in errors.values() if kind in row])
            for kind in kinds
        }
        measures |= {
            f"identity_{name}": value
            for name, value in self._recognition(found, clean, "identity", names).items()
        }
        return Disturbed(change, errors, measures)

    def _recognition(
        self,
        probes: Mapping[str, Reading],
        gallery: Mapping[str, Reading],
        key: str,
        names: Sequence[str],
    ) -> dict[str, Interval]:
        known = list(gallery)
        pairs = Pairs.of(
            np.stack([probes[name][key] for name in names]),
            np.stack([gallery[name][key] for name in known]),
            names,
            known,
            {name: self.faces.person(name) for name in known},
        )
        return {"auc": pairs.auc(), "tar": pairs.tar()} if len(pairs.same) else {}

    def _groups(self, whole: Disturbed, truth: Mapping[str, Reading]) -> list[tuple[str, Gap]]:
        groups = {n: groups_of(self.faces.rows[n], truth[n]) for n in whole.errors}
        kinds = dict.fromkeys(kind for row in whole.errors.values() for kind in row)
        found = []
        for kind in kinds:
            rows = [(row[kind], groups[n]) for n, row in whole.errors.items() if kind in row]
            values, divisions = zip(*rows, strict=True)
            found += [(kind, gap) for gap in gaps(values, divisions)]
        return found

    def _leaks(
        self,
        names: Sequence[str],
        clean: Mapping[str, Reading],
        truth: Mapping[str, Reading],
    ) -> dict[str, dict[str, float]]:
        if len(names) < 50:
            return {}
        codes = [codes_of(clean[name]) for name in names]
        labels = [_labels_of(truth[name]) for name in names]
        return leak_table(
            {key: np.stack([row[key] for row in codes]) for key in codes[0]},
            {key: np.stack([row[key] for row in labels]) for key in labels[0]},
            [self.faces.person(name) for name in names],
        )

    def parser(self, folder: Path) -> dict[str, Interval]:
        """F1 of the parser on rendered faces with true masks."""
        return f1_intervals(list(self._overlaps(folder)))

    def _overlaps(self, folder: Path) -> Iterator[Any]:
        def landmarks(picture: Pixels) -> Any:
            return self.judge.read([picture], light=True)[0]["points"]

        for number, face in enumerate(masked_faces(folder, landmarks, self.faces.side)):
            self.progress(number, 0, "rendered faces")
            yield overlap_counts(self.reader.parse([face.picture])[0], face.labels)


def chosen_names(faces: FaceSet) -> list[str]:
    """All faces in an order that names alone decide.

    Two pictures each of people who have several come first, so that a part of the list has pairs
    too.
    """

    def order(name: str) -> str:
        return hashlib.sha256(f"facex:analysis:{name}".encode()).hexdigest()

    names = sorted(faces.names, key=order)
    pictures: dict[str, list[str]] = {}
    for name in names:
        pictures.setdefault(faces.person(name), []).append(name)
    pairs = [name for part in pictures.values() if len(part) > 1 for name in part[:2]]
    paired = set(pairs)
    return pairs + [name for name in names if name not in paired]


def _mirror_measures(mirrored: Mapping[str, Reading]) -> dict[str, Interval]:
    errors = [light_error(row["light"], row["mirror"]) for row in mirrored.values()]
    f1 = f1_intervals([row["counts"] for row in mirrored.values()], "mirror_f1_")
    return {"mirror_light": mean_interval(errors), "mirror_f1": f1["mirror_f1_mean"]}


def _labels_of(truth: Reading) -> dict[str, np.ndarray]:
    """What leaks are looked for: who, expression, head, gaze and skin colour."""
    # The last one is a teacher or the user's own, where there are any.
    identity = [key for key in truth if key.startswith(PREFIX)][-1]
    return {
        "identity": truth[identity],
        "expression": truth["blendshapes"],
        "pose": np.array(list(angles_of(truth).values())),
        "gaze": truth["gaze"],
        "skin": truth["skin"],
    }
