# SPDX-License-Identifier: Apache-2.0
"""Protocols x systems: make the pictures that are missing, read them, measure, sum up."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facex.errors import FaceXError
from facex.evaluate.baselines import BASELINES, Materials, baseline
from facex.evaluate.bootstrap import Interval
from facex.evaluate.editor import Edited, Editor, owners
from facex.evaluate.faces import FaceSet, Pixels
from facex.evaluate.groups import groups_of
from facex.evaluate.judges import Judge, Reading, in_chunks
from facex.evaluate.masks import hole_mask
from facex.evaluate.metrics import metric
from facex.evaluate.metrics.identity import PREFIX
from facex.evaluate.protocols import Case, Protocol, cases_of, list_hash
from facex.evaluate.store import Store
from facex.evaluate.summary import ProtocolResult, SystemResult
from facex.evaluate.view import Gallery, Values, View
from facex.recipes.plan import plan_recipe
from facex.recipes.values import SOURCE, TARGET

OURS: Final = "ours"
MEASURE_VERSION: Final = 2
"""Goes up when a metric changes, so that kept numbers are not mixed with new ones."""

_LIGHT: Final = {"pictures", "identity", "style", "distribution", "same_person"}
"""Metrics that read embeddings and features alone: no gaze, pose or parsing of the output."""

Progress = Callable[[int, int, str], None]
Measures = tuple[dict[str, Values], dict[str, Reading]]
"""Numbers and readings by case."""
Found = dict[str, Measures]
"""The same by system."""


def _lent_roles(protocol: Protocol) -> list[str]:
    """Roles among whose pictures a person is looked for."""
    return [TARGET, *(role for role, who in protocol.pictures.items() if who != "self")]


def _silent(done: int, total: int, what: str) -> None:
    return None


@dataclass
class Runner:
    """Runs protocols on one set of faces.

    Attributes:
        faces: the faces.
        judge: reads pictures.
        store: where everything is kept.
        editor: the model, or None: the pictures of ``ours`` are there already.
        progress: called with (done, total, what).
    """

    faces: FaceSet
    judge: Judge
    store: Store
    editor: Editor | None
    progress: Progress = _silent
    _faces_read: dict[str, Reading] = field(default_factory=dict)
    _gallery_read: dict[str, Reading] = field(default_factory=dict)

    def __post_init__(self) -> None:
        text = json.dumps([self.judge.names, self.judge.digest, MEASURE_VERSION], sort_keys=True)
        self._tag = hashlib.sha256(text.encode()).hexdigest()[:8]
        self.look_again()

    def look_again(self) -> None:
        """Take the readings of faces from the store, where another process may have put some."""
        self._faces_read = self.store.readings(self._file(light=False))
        self._gallery_read = self.store.readings(self._file(light=True))

    def unread(
        self, lists: Iterable[tuple[Protocol, Sequence[Case]]], limit: int | None, *, light: bool
    ) -> list[str]:
        """Names of the faces that protocols need and nobody has read.

        Args:
            lists: protocols and their whole lists.
            limit: as for :meth:`run`.
            light: for retrieval and distributions, which take whole lists and all faces;
                otherwise those of the measured cases.
        """
        names: set[str] = set()
        for protocol, cases in lists:
            if not light:
                names |= {name for case in cases[:limit] for name in case.faces.values()}
                continue
            if "identity" in protocol.metrics:
                roles = _lent_roles(protocol)
                names |= {case.faces[role] for case in cases for role in roles}
            if any(self._network_for(metric(name)) for name in protocol.metrics):
                names |= set(self.faces.names)
        return sorted(name for name in names if not self._is_read(name, light=light))

    def _is_read(self, name: str, *, light: bool) -> bool:
        # Whole readings hold all that light ones do.
        return name in self._faces_read or (light and name in self._gallery_read)

    def _light(self, name: str) -> Reading:
        return self._faces_read.get(name) or self._gallery_read[name]

    def keep(self, names: Sequence[str], readings: Sequence[Reading], *, light: bool) -> None:
        """Take over what another process has read."""
        known = self._gallery_read if light else self._faces_read
        known.update(zip(names, readings, strict=True))
        self.store.save_readings(self._file(light=light), known)

    def _network_for(self, module: ModuleType) -> str | None:
        """By which network a metric holds all results against all faces; None: by none."""
        network = self.judge.features
        return network.name if network is not None and hasattr(module, "compare") else None

    def _file(self, *, light: bool) -> str:
        return f"{'gallery' if light else 'faces'}-{self._tag}"

    def run(
        self, protocol: Protocol, limit: int | None = None, cases: Sequence[Case] | None = None
    ) -> ProtocolResult:
        """Measure a protocol on the first ``limit`` cases of its list.

        Args:
            protocol: what to do.
            limit: None takes the whole list.
            cases: the list, where it is not drawn from the faces (``external``).
        """
        whole = cases_of(protocol, self.faces) if cases is None else list(cases)
        chosen = whole[:limit]
        start = time.perf_counter()
        failed = self._make(protocol, chosen)
        making = time.perf_counter() - start
        good = [case for case in chosen if case.key not in failed]
        galleries = self._read_for(protocol, good, whole)
        systems: dict[str, SystemResult] = {}
        for system in self._systems(protocol):
            records, readings = self._measure(protocol, system, good, galleries)
            systems[system] = SystemResult(records, self._summaries(protocol, records, readings))
        return ProtocolResult(
            protocol=protocol,
            cases=good,
            total=len(whole),
            list_hash=list_hash(protocol, whole),
            failed=failed,
            systems=systems,
            groups={case.key: self._groups(case) for case in good},
            seconds=making,
            measuring=time.perf_counter() - start - making,
        )

    def unmeasured(self, protocol: Protocol, cases: Sequence[Case]) -> list[Case]:
        """Those of a protocol's cases that some system has no numbers for."""
        files = [self._measures(protocol, system) for system in self._systems(protocol)]
        done = [set(self.store.records(f)) & set(self.store.readings(f)) for f in files]
        return [case for case in cases if not all(case.key in keys for keys in done)]

    def measure(self, protocol: Protocol, cases: Sequence[Case], whole: Sequence[Case]) -> Found:
        """Make and measure some cases of a list, for another process that shall keep the numbers.

        Args:
            protocol: what to do.
            cases: these; pictures of theirs that are missing come into the store.
            whole: the list, among whose people a result's is looked for.
        """
        failed = self._make(protocol, cases)
        good = [case for case in cases if case.key not in failed]
        galleries = self._read_for(protocol, good, whole)
        return {
            system: self._measured(protocol, system, good, galleries)
            for system in self._systems(protocol)
        }

    def keep_measures(self, protocol: Protocol, found: Found) -> None:
        """Take over what another process has measured."""
        for system, (records, readings) in found.items():
            file = self._measures(protocol, system)
            self.store.save_readings(file, self.store.readings(file) | readings)
            self.store.save_records(file, self.store.records(file) | records)

    def _systems(self, protocol: Protocol) -> list[str]:
        known = (OURS, *protocol.baselines)
        drawn = self.editor is not None
        return [system for system in known if drawn or system == OURS or system in BASELINES]

    def _measures(self, protocol: Protocol, system: str) -> str:
        """The store's name of a system's numbers and readings."""
        return f"{protocol.name}--{system}-{self._tag}"

    def _groups(self, case: Case) -> dict[str, str]:
        """Groups of the target, and of the source where another person gives something."""
        found = groups_of(self.faces.rows[case.target], self._faces_read[case.target])
        source = case.pictures.get(SOURCE, case.target)
        if self.faces.person(source) != self.faces.person(case.target):
            of_source = groups_of(self.faces.rows[source], self._faces_read[source])
            found |= {f"{SOURCE}'s {division}": group for division, group in of_source.items()}
        return found

    def picture(self, protocol: Protocol, system: str, case: Case) -> Pixels:
        """The picture of a system, from disk or made again where that is cheap."""
        if system in BASELINES:
            return np.asarray(baseline(system, self._materials(protocol, case)))
        return self.store.picture(protocol.name, system, case.key)

    def hole(self, protocol: Protocol, case: Case) -> NDArray[np.float32] | None:
        """The hole of an inpainting case."""
        if protocol.hole is None:
            return None
        return hole_mask(protocol.hole, self.faces.side, case.seed).astype(np.float32)

    def _materials(self, protocol: Protocol, case: Case) -> Materials:
        faces = case.faces
        return Materials(
            {role: self.faces.image(name) for role, name in faces.items()},
            {role: self._faces_read[name] for role, name in faces.items()},
            self.hole(protocol, case),
            protocol.variants[case.variant].get("style"),
        )

    def _make(self, protocol: Protocol, cases: Sequence[Case]) -> dict[str, str]:
        """Make the model's pictures that are missing; what failed, by case."""
        name = protocol.name
        missing = [c for c in cases if not self.store.has_picture(name, OURS, c.key)]
        failed: dict[str, str] = {}
        if self.editor is None:
            return {case.key: "no picture" for case in missing}
        for part in in_chunks(len(missing)):
            self.progress(part.start, len(missing), f"{name}: editing")
            chunk = missing[part]
            try:
                self._keep(protocol, chunk, self.editor.edit(protocol, chunk))
            except FaceXError:
                for case in chunk:
                    try:
                        self._keep(protocol, [case], self.editor.edit(protocol, [case]))
                    except FaceXError as error:
                        failed[case.key] = str(error)
        return failed

    def _keep(self, protocol: Protocol, cases: Sequence[Case], edited: Iterable[Edited]) -> None:
        name, store = protocol.name, self.store

        def save(system: str, key: str, pixels: Pixels) -> None:
            # Repairs and bare references have the model's crop size, which may be another.
            store.save_picture(name, system, key, _sized(pixels, self.faces.side))

        for case, item in zip(cases, edited, strict=True):
            if protocol.keep_steps:
                for number, picture in enumerate(item.steps, 1):
                    save("step", f"{case.key}.{number}", picture)
            save("mask", case.key, np.asarray(np.ceil(item.mask * 255), np.uint8))
            if "reference" in protocol.baselines:
                save("reference", case.key, item.reference)
            if "roundtrip" in protocol.baselines and self.editor is not None:
                through = self.editor.roundtrip(self.faces.image(case.target))
                save("roundtrip", case.key, through)
            # Last, because its presence says that the case is complete.
            save(OURS, case.key, item.output)

    def _read_for(
        self, protocol: Protocol, cases: Sequence[Case], whole: Sequence[Case]
    ) -> dict[str, Gallery]:
        """Read the faces that cases need; the galleries of the whole list."""
        self._read({name for case in cases for name in case.faces.values()}, light=False)
        if "identity" not in protocol.metrics:
            return {}
        members = {role: [c.faces[role] for c in whole] for role in _lent_roles(protocol)}
        self._read({name for names in members.values() for name in names}, light=True)
        return {role: self._gallery(names) for role, names in members.items()}

    def _gallery(self, names: Sequence[str]) -> Gallery:
        rows = [self._light(name) for name in names]
        keys = [key for key in rows[0] if key.startswith(PREFIX)]
        return Gallery(
            tuple(self.faces.person(name) for name in names),
            {key.removeprefix(PREFIX): np.stack([row[key] for row in rows]) for key in keys},
        )

    def _read(self, names: Iterable[str], *, light: bool) -> None:
        missing = [name for name in sorted(names) if not self._is_read(name, light=light)]
        for part in in_chunks(len(missing), 64):
            self.progress(part.start, len(missing), "reading faces")
            chunk = missing[part]
            found = self.judge.read([self.faces.image(name) for name in chunk], light=light)
            self.keep(chunk, found, light=light)

    def _measure(
        self,
        protocol: Protocol,
        system: str,
        cases: Sequence[Case],
        galleries: Mapping[str, Gallery],
    ) -> Measures:
        """Numbers and readings of the cases of one system, by case; kept in the store."""
        file = self._measures(protocol, system)
        records, readings = self.store.records(file), self.store.readings(file)
        missing = [c for c in cases if c.key not in records or c.key not in readings]
        for part in in_chunks(len(missing)):
            self.progress(part.start, len(missing), f"{protocol.name}: measuring {system}")
            found = self._measured(protocol, system, missing[part], galleries)
            records, readings = records | found[0], readings | found[1]
            self.store.save_readings(file, readings)
            self.store.save_records(file, records)
        keys = [case.key for case in cases]
        return {k: records[k] for k in keys}, {k: readings[k] for k in keys}

    def _measured(
        self,
        protocol: Protocol,
        system: str,
        cases: Sequence[Case],
        galleries: Mapping[str, Gallery],
    ) -> Measures:
        pictures = [self.picture(protocol, system, case) for case in cases]
        light = set(protocol.metrics) <= _LIGHT
        shown = list(zip(cases, pictures, strict=True))
        # Readings of one system have all the same fields.
        known = [None if light and system != TARGET else self._known(*pair) for pair in shown]
        others = [x for x, own in zip(pictures, known, strict=True) if own is None]
        found = iter(self.judge.read(others, light=light))
        records: dict[str, Values] = {}
        readings: dict[str, Reading] = {}
        for (case, picture), own in zip(shown, known, strict=True):
            reading = next(found) if own is None else own
            view = self._view(protocol, system, case, picture, reading, galleries)
            values: Values = {}
            for name in protocol.metrics:
                values |= metric(name).measure(view)
            readings[case.key], records[case.key] = reading, values
        return records, readings

    def _known(self, case: Case, picture: Pixels) -> Reading | None:
        """The reading of a picture that is one of the case's own faces, as for those who paste."""
        for name in case.faces.values():
            if np.array_equal(picture, self.faces.image(name)):
                return self._faces_read[name]
        return None

    def _view(
        self,
        protocol: Protocol,
        system: str,
        case: Case,
        picture: Pixels,
        reading: Reading,
        galleries: Mapping[str, Gallery],
    ) -> View:
        given = self._materials(protocol, case)
        plans = () if protocol.damage is not None else plan_recipe(protocol.recipe(case))
        edit: NDArray[np.float32] | None = None
        if system == OURS and self.store.has_picture(protocol.name, "mask", case.key):
            mask = self.store.picture(protocol.name, "mask", case.key)
            edit = mask.astype(np.float32) / np.float32(255)
        return View(
            output=picture,
            reading=reading,
            pictures=given.pictures,
            readings=given.readings,
            people={role: self.faces.person(name) for role, name in case.faces.items()},
            plans=plans,
            owners=owners(plans),
            galleries=galleries,
            truth=given.pictures[protocol.truth] if protocol.truth else None,
            truth_reading=given.readings[protocol.truth] if protocol.truth else None,
            hole=given.hole,
            edit=edit,
            steps=self._steps(protocol, case) if system == OURS else [],
            lpips=self.judge.lpips,
        )

    def _steps(self, protocol: Protocol, case: Case) -> list[tuple[Pixels, Reading]]:
        if not protocol.keep_steps:
            return []
        pictures: list[Pixels] = []
        while self.store.has_picture(protocol.name, "step", f"{case.key}.{len(pictures) + 1}"):
            key = f"{case.key}.{len(pictures) + 1}"
            pictures.append(self.store.picture(protocol.name, "step", key))
        return list(zip(pictures, self.judge.read(pictures), strict=True))

    def _summaries(
        self,
        protocol: Protocol,
        records: Mapping[str, Values],
        readings: Mapping[str, Reading],
    ) -> dict[str, Interval]:
        """Numbers that only all cases together have."""
        found: dict[str, Interval] = {}
        for name in protocol.metrics:
            module = metric(name)
            if hasattr(module, "summarise"):
                found |= module.summarise(list(records.values()))
            network = self._network_for(module)
            if network is not None:
                self._read(self.faces.names, light=True)
                outputs = [r["features"] for r in readings.values()]
                real = [self._light(name)["features"] for name in self.faces.names]
                if len(outputs) > 1:
                    found |= module.compare(np.stack(outputs), np.stack(real), network)
        return found


def _sized(pixels: Pixels, side: int) -> Pixels:
    """A picture or a mask at another size, made smaller by the mean of what a pixel covers."""
    if pixels.shape[0] == side:
        return pixels
    way = cv2.INTER_AREA if pixels.shape[0] > side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (side, side), interpolation=way), np.uint8)
