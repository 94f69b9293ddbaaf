# SPDX-License-Identifier: Apache-2.0
"""What a picture says about itself: mark, metadata, credentials, and one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facex.errors import FaceXError, MissingExtra
from facex.imaging.read import read_photo
from facex.safety.credentials import read_credentials
from facex.safety.mark import TOOL_FACEX, MarkReading, detect
from facex.safety.provenance import Provenance, read_xmp


@dataclass(frozen=True)
class VerifyReport:
    """Everything that could be read about the making of a picture.

    Attributes:
        path: the file.
        mark: what the pixels say.
        metadata: what the XMP packet says, None if there is none.
        credentials: the signed credentials (``credentials.read_credentials``), None if there are
            none or they cannot be read.
        credentials_checked: False if c2pa-python is not installed.
        verdict: one sentence.
    """

    path: Path
    mark: MarkReading
    metadata: Provenance | None
    credentials: dict[str, Any] | None
    credentials_checked: bool
    verdict: str

    @property
    def by_facex(self) -> bool:
        """Whether mark, metadata or credentials say that FaceX edited the picture."""
        return (
            (self.mark.payload is not None and self.mark.payload.tool == TOOL_FACEX)
            or (self.metadata is not None and self.metadata.by_facex)
            or (self.credentials is not None and self.credentials["edit_id"] is not None)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON data; edit ids are six hexadecimal digits."""
        payload, metadata = self.mark.payload, self.metadata
        return {
            "file": str(self.path),
            "by_facex": self.by_facex,
            "verdict": self.verdict,
            "mark": {
                "found": self.mark.found,
                "edit_id": None if payload is None else f"{payload.edit_id:06x}",
                "tool": None if payload is None else payload.tool,
                "version": None if payload is None else payload.version,
                "confidence": round(self.mark.confidence, 4),
                "p_value": self.mark.p_value,
                "scale": None if self.mark.scale is None else round(self.mark.scale, 4),
            },
            "metadata": None
            if metadata is None
            else {
                "digital_source_type": metadata.digital_source_type,
                "tool": metadata.tool,
                "edit_id": _hex(metadata.edit_id),
                "recipe": metadata.recipe,
            },
            "credentials": self.credentials,
            "credentials_checked": self.credentials_checked,
        }


def verify_image(path: str | Path) -> VerifyReport:
    """Look for the traces of an edit in a picture file.

    Args:
        path: any picture file that FaceX reads.

    Returns:
        The report. That nothing is found proves nothing: marks and metadata can be removed.

    Raises:
        ImageRejected: the file is no usable picture.
    """
    path = Path(path)
    mark = detect(read_photo(path).array)
    try:
        metadata = read_xmp(path)
    except FaceXError:
        metadata = None  # a format that only ``imaging`` reads, such as HEIC
    checked = True
    try:
        credentials = read_credentials(path)
    except MissingExtra:
        credentials, checked = None, False
    verdict = _verdict(mark, metadata, credentials)
    return VerifyReport(path, mark, metadata, credentials, checked, verdict)


def _hex(edit_id: int | None) -> str | None:
    return None if edit_id is None else f"{edit_id:06x}"


def _verdict(
    mark: MarkReading, metadata: Provenance | None, credentials: dict[str, Any] | None
) -> str:
    in_mark = None if mark.payload is None else _hex(mark.payload.edit_id)
    in_metadata = None if metadata is None else _hex(metadata.edit_id)
    signed = "" if credentials is None else f"; credentials: {credentials['state']}"
    if mark.payload is not None and mark.payload.tool != TOOL_FACEX:
        return f"Another tool (number {mark.payload.tool}) left a mark in this picture{signed}."
    if in_mark and in_mark == in_metadata:
        return f"Edited with FaceX (edit {in_mark}): mark and metadata agree{signed}."
    if in_mark and in_metadata:
        return (
            f"Edited with FaceX, but the mark says edit {in_mark} and the metadata edit "
            f"{in_metadata}: edited several times, or the metadata comes from elsewhere{signed}."
        )
    if in_mark:
        return f"Edited with FaceX (edit {in_mark}): the mark says so, metadata is gone{signed}."
    if in_metadata:
        return (
            f"The metadata says that FaceX edited this picture (edit {in_metadata}), but no mark "
            f"was read: the face is too small or the picture was changed much{signed}."
        )
    if metadata is not None and metadata.says_generated:
        tool = f" ({metadata.tool})" if metadata.tool else ""
        return f"The metadata says that a trained model made parts of this picture{tool}{signed}."
    if credentials is not None:
        generator = credentials["generator"] or "an unnamed program"
        return f"No trace of FaceX; {generator} left content credentials{signed}."
    return "No trace of FaceX was found, which does not prove that the picture is unedited."
