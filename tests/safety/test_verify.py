# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from facex.errors import ImageRejected, MissingExtra, OptionError
from facex.imaging.write import write_photo
from facex.safety import credentials
from facex.safety.credentials import Signing, sign, signing_from_environment
from facex.safety.mark import embed, payload_of
from facex.safety.provenance import build_xmp
from facex.safety.verify import verify_image


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    rng = np.random.default_rng(5)
    coarse = rng.normal(128, 30, (24, 20, 3)).astype(np.float32)
    plane = cv2.resize(coarse, (300, 360), interpolation=cv2.INTER_CUBIC)
    return np.clip(plane + rng.normal(0, 2, plane.shape), 0, 255).astype(np.uint8)


def _saved(
    tmp_path: Path, photo: np.ndarray, mark: int | None = None, xmp: int | None = None
) -> Path:
    path = tmp_path / "picture.png"
    pixels = photo if mark is None else embed(photo, payload_of(mark))
    packet = None if xmp is None else build_xmp("{}", xmp)
    write_photo(Image.fromarray(pixels), path, xmp=packet)
    return path


@pytest.mark.parametrize(
    ("mark", "xmp", "by_facex", "words"),
    [
        (10, 10, True, "mark and metadata agree"),
        (10, None, True, "metadata is gone"),
        (None, 10, True, "no mark was read"),
        (10, 11, True, "several times"),
        (None, None, False, "does not prove"),
    ],
)
def test_verdicts(
    tmp_path: Path,
    photo: np.ndarray,
    mark: int | None,
    xmp: int | None,
    by_facex: bool,
    words: str,
) -> None:
    report = verify_image(_saved(tmp_path, photo, mark, xmp))
    assert report.by_facex is by_facex
    assert words in report.verdict
    assert report.verdict.endswith(".")
    assert report.verdict.count(". ") == 0, "one sentence"
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["mark"]["found"] is (mark is not None)
    assert plain["mark"]["edit_id"] == (None if mark is None else f"{mark:06x}")
    assert (plain["metadata"] is None) is (xmp is None)


def test_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"nothing")
    with pytest.raises(ImageRejected):
        verify_image(tmp_path / "a.jpg")


def test_signing_is_off_until_configured(tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_text("x")
    certificate, missing = str(tmp_path / "c.pem"), str(tmp_path / "none.pem")
    assert signing_from_environment({}) is None
    assert signing_from_environment({"FACEX_C2PA_CERT": " "}) is None
    both = {"FACEX_C2PA_CERT": certificate, "FACEX_C2PA_KEY": certificate}
    assert signing_from_environment(both) == Signing(Path(certificate), Path(certificate))
    for wrong in (
        {"FACEX_C2PA_CERT": certificate},
        {"FACEX_C2PA_KEY": certificate},
        {"FACEX_C2PA_CERT": certificate, "FACEX_C2PA_KEY": missing},
        {**both, "FACEX_C2PA_TSA": "ftp://x"},
    ):
        with pytest.raises(OptionError):
            signing_from_environment(wrong)


def test_signing_without_the_library_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "credentials_available", lambda: False)
    path = tmp_path / "a.jpg"
    Image.new("RGB", (40, 30)).save(path)
    before = path.read_bytes()
    with pytest.raises(MissingExtra, match="facex\\[credentials\\]"):
        sign(path, Signing(path, path), edit_id=1)
    with pytest.raises(OptionError, match="cannot carry"):
        sign(tmp_path / "a.bmp", Signing(path, path), edit_id=1)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.jpg"]


@pytest.mark.parametrize("manifest", [None, {}, [], {"assertions": [{"data": 3}, "x"]}, {
    "claim_generator_info": "x", "signature_info": 4, "assertions": {"a": 1},
}])  # fmt: skip
def test_strange_manifests(manifest: object) -> None:
    summary = credentials._summary(manifest, "Invalid")
    assert summary["edit_id"] is None
    assert summary["source_types"] == []


def test_signed_file_is_read_back(tmp_path: Path, photo: np.ndarray) -> None:
    pytest.importorskip("c2pa")
    path = _saved(tmp_path, photo, 77, 77)
    sign(path, _self_made_certificate(tmp_path), edit_id=77)
    report = verify_image(path)
    assert report.credentials is not None
    assert report.credentials["edit_id"] == f"{77:06x}"
    assert report.credentials["state"] == "Valid"
    assert report.metadata is not None
    assert report.metadata.edit_id == 77


def _self_made_certificate(folder: Path) -> Signing:
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    chain = []
    for key, name, authority in ((leaf, "leaf", False), (root, "root", True)):
        usage = x509.KeyUsage(not authority, *[False] * 4, authority, authority, False, False)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(x509, NameOID, name))
            .issuer_name(_name(x509, NameOID, "root"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(authority, None), True)
            .add_extension(usage, True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), False
            )
        )
        if not authority:
            purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(purpose, False)
        chain.append(builder.sign(root, hashes.SHA256()))
    pem = serialization.Encoding.PEM
    certificate, key_file = folder / "chain.pem", folder / "key.pem"
    certificate.write_bytes(b"".join(one.public_bytes(pem) for one in chain))
    form = serialization.PrivateFormat.PKCS8
    key_file.write_bytes(leaf.private_bytes(pem, form, serialization.NoEncryption()))
    return Signing(certificate, key_file)


def _name(x509, oid, text: str):
    return x509.Name(
        [x509.NameAttribute(oid.COMMON_NAME, text), x509.NameAttribute(oid.ORGANIZATION_NAME, "T")]
    )
