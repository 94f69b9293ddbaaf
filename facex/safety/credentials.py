# SPDX-License-Identifier: Apache-2.0
"""Signed content credentials (C2PA), for users who have a certificate.

FaceX cannot ship a certificate that anybody would trust, so nothing is signed until the user names
one: ``FACEX_C2PA_CERT`` (PEM chain, own certificate first), ``FACEX_C2PA_KEY`` (PEM, PKCS #8, no
password) and, if the time shall be attested, ``FACEX_C2PA_TSA`` (URL; the only use of the network).
The work is done by c2pa-python, which comes with the extra ``credentials``.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from facex.errors import MissingExtra, OptionError, OutputError
from facex.safety.provenance import COMPOSITE_WITH_AI, TOOL, tool_version

MEDIA_TYPES: Final = {
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp",
    ".avif": "image/avif", ".tif": "image/tiff", ".tiff": "image/tiff",
}  # fmt: skip
"""Files that can carry credentials."""

_EDIT_ID: Final = "org.facex.edit_id"
_CURVES: Final = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_QUIET: Final = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    # A thumbnail would keep a copy of the picture that later edits or crops do not remove.
    "builder": {"thumbnail": {"enabled": False}},
}


@dataclass(frozen=True)
class Signing:
    """What is needed to sign.

    Attributes:
        certificate: PEM file of the certificate chain.
        key: PEM file of the private key.
        time_stamp_url: address of a time-stamp authority, or None.
    """

    certificate: Path
    key: Path
    time_stamp_url: str | None = None


def signing_from_environment(environment: Mapping[str, str] | None = None) -> Signing | None:
    """Return what the user configured.

    Args:
        environment: variables by name; None reads the process environment.

    Returns:
        None when neither certificate nor key are named.

    Raises:
        OptionError: only one of the two is named, or a file does not exist.
    """
    variables = os.environ if environment is None else environment
    paths = {}
    for name in ("FACEX_C2PA_CERT", "FACEX_C2PA_KEY"):
        value = variables.get(name, "").strip()
        if value:
            paths[name] = Path(value).expanduser()
    if not paths:
        return None
    for name in ("FACEX_C2PA_CERT", "FACEX_C2PA_KEY"):
        if name not in paths:
            raise OptionError(f"signing needs {name} as well: set both or neither")
        if not paths[name].is_file():
            raise OptionError(f"{name} names {paths[name]}, which is no file")
    url = variables.get("FACEX_C2PA_TSA", "").strip() or None
    if url is not None and not url.startswith(("http://", "https://")):
        raise OptionError(f"FACEX_C2PA_TSA is {url!r}, expected an http(s) address")
    return Signing(paths["FACEX_C2PA_CERT"], paths["FACEX_C2PA_KEY"], url)


def credentials_available() -> bool:
    """Whether c2pa-python is installed."""
    return find_spec("c2pa") is not None


def sign(path: str | Path, signing: Signing, *, edit_id: int) -> None:
    """Add signed credentials to a finished picture file, in one piece.

    The file gets a new manifest whose action says that a trained model made parts of the picture.
    The original photo is not embedded.

    Args:
        path: JPEG, PNG, WebP, AVIF or TIFF file; replaced by the signed one.
        signing: certificate and key.
        edit_id: 24-bit number, the same as in mark and metadata.

    Raises:
        MissingExtra: c2pa-python is not installed.
        OptionError: the certificate or the key cannot be used, or the format cannot be signed.
        OutputError: the file cannot be read or replaced.
    """
    path = Path(path)
    media_type = MEDIA_TYPES.get(path.suffix.lower())
    if media_type is None:
        known = ", ".join(sorted(MEDIA_TYPES))
        raise OptionError(f"{path.name} cannot carry content credentials: use one of {known}")
    c2pa = _library()
    certificate, key, algorithm = _key_pair(signing)
    try:
        url = signing.time_stamp_url
        info = c2pa.C2paSignerInfo(algorithm, certificate, key, url.encode() if url else None)
        context = c2pa.Context(settings=c2pa.Settings.from_dict(_QUIET))
        with (
            context,
            c2pa.Signer.from_info(info) as signer,
            c2pa.Builder(_manifest(path, media_type, edit_id), context=context) as builder,
        ):
            _replace(path, lambda source, target: builder.sign(signer, media_type, source, target))
    except c2pa.C2paError as error:
        raise OptionError(
            f"{path.name} could not be signed with {signing.certificate.name}: {error}"
        ) from error


def read_credentials(path: str | Path) -> dict[str, Any] | None:
    """Read the active manifest of a file.

    Args:
        path: picture file.

    Returns:
        ``generator``, ``signed_by``, ``time``, ``state`` (``Valid``: intact, signer unknown;
        ``Trusted``; ``Invalid``), ``source_types`` and ``edit_id``; None when the file carries no
        readable credentials.

    Raises:
        MissingExtra: c2pa-python is not installed.
    """
    c2pa = _library()
    path = Path(path)
    media_type = MEDIA_TYPES.get(path.suffix.lower())
    if media_type is None:
        return None
    try:
        with (
            c2pa.Context(settings=c2pa.Settings.from_dict(_QUIET)) as context,
            open(path, "rb") as file,
            c2pa.Reader(media_type, file, context=context) as reader,
        ):
            store = json.loads(reader.json())
            state = reader.get_validation_state()
    except (c2pa.C2paError, OSError, ValueError):
        return None
    active = str(_field(store, "active_manifest"))
    return _summary(_field(_field(store, "manifests"), active), state)


def _summary(manifest: Any, state: str | None) -> dict[str, Any]:
    """Pick the few fields that matter out of a manifest, which a stranger wrote."""
    generator = next(iter(_listed(_field(manifest, "claim_generator_info"))), None)
    signature = _field(manifest, "signature_info")
    actions = [
        action
        for assertion in _listed(_field(manifest, "assertions"))
        for action in _listed(_field(_field(assertion, "data"), "actions"))
    ]
    sources = [_field(action, "digitalSourceType") for action in actions]
    ids = [_field(_field(action, "parameters"), _EDIT_ID) for action in actions]
    name, version = _field(generator, "name"), _field(generator, "version")
    return {
        "generator": " ".join(str(part) for part in (name, version) if part),
        "signed_by": _field(signature, "issuer"),
        "time": _field(signature, "time"),
        "state": state,
        "source_types": [source for source in sources if isinstance(source, str)],
        "edit_id": next((number for number in ids if isinstance(number, str)), None),
    }


def _field(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _manifest(path: Path, media_type: str, edit_id: int) -> dict[str, Any]:
    action = {
        "action": "c2pa.created",
        "digitalSourceType": COMPOSITE_WITH_AI,
        "softwareAgent": {"name": TOOL, "version": tool_version()},
        "parameters": {_EDIT_ID: f"{edit_id:06x}"},
    }
    return {
        "claim_generator_info": [{"name": TOOL, "version": tool_version()}],
        "title": f"edit {edit_id:06x}{path.suffix.lower()}",
        "format": media_type,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
    }


def _library() -> Any:
    if not credentials_available():
        raise MissingExtra("signing content credentials", "credentials")
    import c2pa

    return c2pa


def _key_pair(signing: Signing) -> tuple[bytes, bytes, str]:
    """Return certificate, key and the name of the algorithm that fits the key."""
    # cryptography comes with c2pa-python; by name, since type checkers may not have it.
    primitives = "cryptography.hazmat.primitives"
    serialization = import_module(f"{primitives}.serialization")
    ec, ed25519, rsa = (
        import_module(f"{primitives}.asymmetric.{name}") for name in ("ec", "ed25519", "rsa")
    )

    try:
        certificate, key = signing.certificate.read_bytes(), signing.key.read_bytes()
        private = serialization.load_pem_private_key(key, password=None)
    except OSError as error:
        raise OptionError(f"{error.filename} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise OptionError(f"{signing.key} is no private key in PEM without password") from error
    if b"BEGIN CERTIFICATE" not in certificate:
        raise OptionError(f"{signing.certificate} is no certificate in PEM")
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in _CURVES:
        return certificate, key, _CURVES[private.curve.name]
    if isinstance(private, rsa.RSAPrivateKey):
        return certificate, key, "ps256"
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return certificate, key, "ed25519"
    raise OptionError(f"{signing.key} is of a kind C2PA does not allow: use P-256, RSA or Ed25519")


def _replace(path: Path, write: Any) -> None:
    """Run ``write(source, target)`` on open files and put the target in the source's place."""
    name = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
        with open(path, "rb") as source, os.fdopen(handle, "w+b") as target:
            write(source, target)
        os.chmod(name, path.stat().st_mode & 0o777)
        os.replace(name, path)
        name = None
    except OSError as error:
        raise OutputError(f"{path} cannot be signed in place: {error.strerror}") from error
    finally:
        if name is not None:
            with contextlib.suppress(OSError):
                os.unlink(name)
