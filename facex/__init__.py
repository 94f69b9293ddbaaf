# SPDX-License-Identifier: Apache-2.0
"""FaceX: one generative model that does every common face edit.

>>> import facex
>>> face_editor = facex.FaceX.from_pretrained()          # the bundled model  # doctest: +SKIP
>>> face_editor.swap("source.jpg", "target.jpg").save("out.png")             # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facex.api import FaceX
    from facex.errors import FaceXError
    from facex.ford.representation import FaceRepresentation
    from facex.recipes.schema import Recipe
    from facex.result import Result
    from facex.types import Factor, Region

__version__ = "0.1.0"

# torch and diffusers take seconds to import; nothing heavy is loaded before it is used.
_WHERE = {
    "FaceX": "facex.api",
    "FaceXError": "facex.errors",
    "FaceRepresentation": "facex.ford.representation",
    "Factor": "facex.types",
    "Recipe": "facex.recipes.schema",
    "Region": "facex.types",
    "Result": "facex.result",
}

__all__ = [
    "FaceRepresentation",
    "FaceX",
    "FaceXError",
    "Factor",
    "Recipe",
    "Region",
    "Result",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'facex' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
