# SPDX-License-Identifier: Apache-2.0
"""Metadata that says how a picture was made: one XMP packet, written and read.

The packet names IPTC's digital source type "composite with trained algorithmic media" (what
catalogues and platforms look for), the tool, the id of the edit (the same number as in the
invisible mark) and the recipe. The recipe is reduced to what is nobody's secret: which part came
from which of several nameless pictures. File names, free text and names that a user chose stay out.

Packets come from strangers: they are limited in size, and declarations of document types and
entities, which are how small XML becomes large, are refused before parsing.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from PIL import Image, UnidentifiedImageError

from facex.errors import ImageRejected, OptionError
from facex.types import BLENDSHAPES, REGION_GROUPS, Factor, Region

TOOL: Final = "FaceX"
COMPOSITE_WITH_AI: Final = (
    "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
)
"""IPTC's term for a photo of which parts were made by a trained model."""
MAX_PACKET_BYTES: Final = 256 * 1024
MAX_RECIPE_BYTES: Final = 48 * 1024
"""A JPEG file holds at most 64 KiB of XMP; a longer recipe is left out."""

_FORMATS: Final = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF")
_RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_IPTC: Final = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_XMP: Final = "http://ns.adobe.com/xap/1.0/"
_FACEX: Final = "urn:facex:provenance:1#"
_FORBIDDEN: Final = re.compile(r"<!\s*(?:doctype|entity|element|attlist|notation)", re.IGNORECASE)

_DROPPED: Final = frozenset({"photos", "name", "mask", "prompt", "description", "path", "file"})
_WORDS: Final = frozenset(
    {
        *(str(factor) for factor in Factor), *(str(region) for region in Region), *REGION_GROUPS,
        *BLENDSHAPES, "target", "source", "driver", "none", "auto", "mask", "warped", "paper",
        "absolute", "relative", "moustache",
    }
)  # fmt: skip
"""Words of the recipe language. Any other text was chosen by a user and may be private."""


@dataclass(frozen=True)
class Provenance:
    """What the metadata of a picture says about its making.

    Attributes:
        digital_source_type: IPTC term (a URI), or None.
        tool: name and version of the program, or None.
        edit_id: 24-bit number of the edit, None if FaceX did not write the packet.
        recipe: what came from whom, None if absent or not readable.
    """

    digital_source_type: str | None
    tool: str | None
    edit_id: int | None = None
    recipe: Mapping[str, Any] | None = field(default=None, hash=False)

    @property
    def by_facex(self) -> bool:
        """Whether the packet says that FaceX made the edit."""
        return self.edit_id is not None

    @property
    def says_generated(self) -> bool:
        """Whether the source type says that a trained model made the picture or parts of it."""
        return "trainedalgorithmicmedia" in (self.digital_source_type or "").lower()


@cache
def tool_version() -> str:
    """Return the installed version of FaceX, ``0`` when run from a bare folder."""
    try:
        return metadata.version("facex")
    except metadata.PackageNotFoundError:
        return "0"


def public_recipe(recipe: Any) -> Any:
    """Reduce a recipe to what may be published.

    Args:
        recipe: plain JSON data.

    Returns:
        The same without file names and free text; pictures with names of the user's own become
        ``picture 1``, ``picture 2``, ... in the order of their appearance.
    """
    names: dict[str, str] = {}

    def reduced(value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {
                k: reduced(v, k)
                for k, v in value.items()
                if k not in _DROPPED and re.fullmatch(r"[A-Za-z_]{1,40}", k)
            }
        if isinstance(value, list | tuple):
            return [reduced(item, key) for item in value]
        if not isinstance(value, str) or value in _WORDS:
            return value
        if key == "style":
            return "personal"
        return names.setdefault(value, f"picture {len(names) + 1}")

    return reduced(recipe, "")


def build_xmp(recipe_json: str, edit_id: int) -> bytes:
    """Write the XMP packet of an edit.

    Args:
        recipe_json: the recipe as JSON; what is private in it is left out (``public_recipe``).
        edit_id: 24-bit number, the same as in the mark.

    Returns:
        The packet, UTF-8, at most 60 KiB.

    Raises:
        OptionError: the recipe is no JSON object, or the id is out of range.
    """
    if not 0 <= edit_id < 1 << 24:
        raise OptionError(f"edit id is {edit_id}, expected 0 to {(1 << 24) - 1}")
    recipe = _json_object(recipe_json)
    if recipe is None:
        raise OptionError("the recipe for the metadata is not a JSON object")
    text = json.dumps(public_recipe(recipe), separators=(",", ":"))
    escaped = escape(text)
    if len(escaped) > MAX_RECIPE_BYTES:
        escaped = "{}"
    packet = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="{_RDF}">
  <rdf:Description rdf:about=""
    xmlns:xmp="{_XMP}" xmlns:Iptc4xmpExt="{_IPTC}" xmlns:facex="{_FACEX}">
   <xmp:CreatorTool>{TOOL} {escape(tool_version())}</xmp:CreatorTool>
   <Iptc4xmpExt:DigitalSourceType>{COMPOSITE_WITH_AI}</Iptc4xmpExt:DigitalSourceType>
   <facex:EditId>{edit_id:06x}</facex:EditId>
   <facex:Recipe>{escaped}</facex:Recipe>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
    return packet.encode()


def read_xmp(path: str | Path) -> Provenance | None:
    """Read what the metadata of a picture file says.

    Args:
        path: JPEG, PNG, WebP, AVIF or TIFF file.

    Returns:
        None if there is no XMP packet, it says nothing about the making, or it is damaged,
        too large or hostile.

    Raises:
        ImageRejected: the file cannot be opened as a picture.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_FORMATS) as image:
                # Pillow's name of the packet differs: PNG keeps the keyword of its text chunk.
                packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ImageRejected(f"{path} cannot be opened as a picture: {_reason(error)}") from error
    except (ValueError, SyntaxError, TypeError, IndexError, MemoryError, OverflowError):
        return None  # broken metadata, such as a text chunk that unpacks to gigabytes
    return None if packet is None else parse_xmp(packet)


def parse_xmp(packet: bytes | str) -> Provenance | None:
    """Parse an XMP packet, which may be anything; see ``read_xmp``."""
    if isinstance(packet, str):
        packet = packet.encode("utf-8", "replace")
    if len(packet) > MAX_PACKET_BYTES:
        return None
    try:
        text = packet.decode("utf-8-sig").strip("\x00 \t\r\n")
        if _FORBIDDEN.search(text):
            return None
        root = ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError, ValueError, RecursionError):
        return None
    found: dict[str, str] = {}
    for description in root.iter(f"{{{_RDF}}}Description"):
        found.update(description.attrib)  # XMP allows properties as attributes, too
        found.update({child.tag: (child.text or "").strip() for child in description})
    source = found.get(f"{{{_IPTC}}}DigitalSourceType") or None
    tool = found.get(f"{{{_XMP}}}CreatorTool") or None
    edit_id = _edit_id(found.get(f"{{{_FACEX}}}EditId", ""))
    if source is None and edit_id is None:
        return None
    recipe = _json_object(found.get(f"{{{_FACEX}}}Recipe", ""))
    return Provenance(
        digital_source_type=None if source is None else source[:200],
        tool=None if tool is None else tool[:200],
        edit_id=edit_id,
        recipe=recipe,
    )


def _edit_id(text: str) -> int | None:
    return int(text, 16) if re.fullmatch(r"[0-9a-f]{6}", text) else None


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "it is damaged or of an unknown format"
