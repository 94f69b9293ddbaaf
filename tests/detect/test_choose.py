# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from facex.detect.choose import FaceChoice, choose_faces
from facex.detect.detector import Detection
from facex.errors import NoFaceFound, OptionError

FACES = [
    Detection((200, 0, 240, 40), 0.9),
    Detection((0, 50, 30, 80), 0.5),
    Detection((100, 10, 160, 70), 0.2),
]


@pytest.mark.parametrize("text", ["largest", "all", "1", "12", "like:a b.jpg"])
def test_texts_round_trip(text: str) -> None:
    assert str(FaceChoice.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "1.5", "first", "like:", "like: ", "LARGEST ONE", "²"]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="largest, all"):
        FaceChoice.parse(text)


def test_choices() -> None:
    assert choose_faces(FACES, FaceChoice()) == [2]
    doubtful = replace(FACES[2], score=0.1)
    assert choose_faces([*FACES[:2], doubtful], FaceChoice()) == [0]
    assert choose_faces(FACES, FaceChoice.parse("all")) == [1, 2, 0]
    assert [choose_faces(FACES, FaceChoice.parse(n))[0] for n in "123"] == [1, 2, 0]


def test_like_asks_the_callable() -> None:
    choice = FaceChoice.parse("like:she.jpg")
    asked: list[Path] = []

    def similarity(photo: Path) -> list[float]:
        asked.append(photo)
        return [0.1, 0.7, 0.3]

    assert choose_faces(FACES, choice, similarity) == [1]
    assert asked == [Path("she.jpg")]
    with pytest.raises(NoFaceFound, match=r"she\.jpg.*0\.70"):
        choose_faces(FACES, choice, similarity, least_similarity=0.8)
    with pytest.raises(OptionError):
        choose_faces(FACES, choice)


@pytest.mark.parametrize(
    ("faces", "text", "said"),
    [([], "largest", "no face"), (FACES, "4", "3 faces.*1 to 3"), (FACES[:1], "2", "1 face:")],
)
def test_missing_faces(faces: list[Detection], text: str, said: str) -> None:
    with pytest.raises(NoFaceFound, match=said):
        choose_faces(faces, FaceChoice.parse(text))
