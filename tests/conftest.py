# SPDX-License-Identifier: Apache-2.0
"""What many tests share: the bundled model, two public-domain portraits, one thread."""

from __future__ import annotations

from importlib.resources import files

import pytest
from PIL import Image

import facex


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Workers share few cores; a fixed number of threads also fixes the order of sums."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def mini() -> facex.FaceX:
    """The bundled model, loaded once a worker; tests must leave it as it is."""
    return facex.FaceX.from_pretrained(device="cpu")


def _portrait(package: str, *path: str) -> Image.Image:
    with files(package).joinpath(*path).open("rb") as file:
        return Image.open(file).convert("RGB")


@pytest.fixture(scope="session")
def astronaut() -> Image.Image:
    """Eileen Collins (NASA, public domain), 512 x 512, as it comes with scikit-image."""
    return _portrait("skimage", "data", "astronaut.png")


@pytest.fixture(scope="session")
def hopper() -> Image.Image:
    """Grace Hopper (United States Navy, public domain), 512 x 600, as it comes with matplotlib."""
    return _portrait("matplotlib", "mpl-data", "sample_data", "grace_hopper.jpg")
