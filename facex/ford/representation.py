# SPDX-License-Identifier: Apache-2.0
"""What FORD finds in a face: one typed, frozen, batched value (DESIGN 2).

A ``FaceRepresentation`` is checked when it is made, so whoever holds one may rely on the shapes
and ranges below. Its files are safetensors with a format version: never a pickle.
"""

from __future__ import annotations

import dataclasses
import json
import re
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from facex.errors import RepresentationError
from facex.imaging.write import write_bytes_atomic
from facex.types import LANDMARK_COUNT, PARSING_CLASSES, REGIONS, Region

FORMAT: Final = "facex.FaceRepresentation"
FORMAT_VERSION: Final = 1
MAX_FILE_BYTES: Final = 256 * 2**20
MAX_HEADER_BYTES: Final = 2**20

Tensors = dict[str, Tensor]
Migration = Callable[[Tensors, dict[str, str]], tuple[Tensors, dict[str, str]]]

MIGRATIONS: Final[dict[int, Migration]] = {}
"""``MIGRATIONS[n]`` turns the tensors and metadata of format n into those of format n + 1."""

_AnyFloat = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_LAYOUT: Final[dict[str, tuple[tuple[int | str, ...], tuple[torch.dtype, ...]]]] = {
    "photo_from_crop": (("B", 2, 3), (torch.float64,)),
    "identity_tokens": (("B", "Ni", "Di"), _AnyFloat),
    "identity": (("B", "E"), _AnyFloat),
    "region_features": (("B", len(REGIONS), "Dr"), _AnyFloat),
    "region_present": (("B", len(REGIONS)), (torch.bool,)),
    "parsing": (("B", "S", "S"), (torch.uint8,)),
    "landmarks": (("B", LANDMARK_COUNT, 3), _AnyFloat),
    "shape": (("B", "Kid"), _AnyFloat),
    "expression": (("B", "Ke"), _AnyFloat),
    "rotation": (("B", 3, 3), _AnyFloat),
    "scale": (("B",), _AnyFloat),
    "translation": (("B", 2), _AnyFloat),
    "residual": (("B", LANDMARK_COUNT, 3), _AnyFloat),
    "gaze": (("B", 2, 2), _AnyFloat),
    "texture": (("B", "Dt"), _AnyFloat),
    "light": (("B", 27), _AnyFloat),
}

TENSOR_FIELDS: Final[tuple[str, ...]] = tuple(_LAYOUT)
"""Names of the tensors of a representation, in storage order."""

EXTRACTED_FIELDS: Final[tuple[str, ...]] = tuple(n for n in _LAYOUT if n != "photo_from_crop")
"""The fields that extractors must provide together; the rest is known from the crop."""


def region_input(region: Region) -> str:
    """Name of the token input of a region, for example ``region:lips``."""
    return f"region:{region}"


TOKEN_INPUTS: Final[tuple[str, ...]] = (
    "identity", "pose", "expression", "gaze", "texture", "light",
    *(region_input(region) for region in REGIONS),
)  # fmt: skip
"""Keys of ``factor_inputs``, in order."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class FaceRepresentation:
    """The factors of B faces of one crop size (DESIGN 2).

    Attributes:
        crop_size: S, side of the crop in pixels.
        photo_from_crop: (B, 2, 3) float64, maps crop pixels to photo pixels. It stays on the
            CPU: it is only used with photos, and some accelerators have no float64.
        identity_tokens: (B, Ni, Di) spatial map of a face-recognition net as tokens.
        identity: (B, E) pooled identity, unit length.
        region_features: (B, 13, Dr) one feature per region, in the order of ``types.REGIONS``.
        region_present: (B, 13) bool, whether the region can be seen at all.
        parsing: (B, S, S) uint8, class ids of ``types.PARSING_CLASSES``.
        landmarks: (B, 478, 3) x, y in crop pixels, z in the same scale, negative to the camera.
        shape: (B, Kid) coefficients of the identity basis.
        expression: (B, Ke) expression coefficients (mini: the 52 blendshapes, 0 to 1).
        rotation: (B, 3, 3) head pose, orthonormal, determinant +1.
        scale: (B,) weak-perspective scale, above 0.
        translation: (B, 2) weak-perspective translation, crop pixels.
        residual: (B, 478, 3) landmarks minus shape model, so that nothing is lost.
        gaze: (B, 2, 2) [right eye, left eye] x [pitch, yaw], radians in the camera frame.
        texture: (B, Dt) albedo code.
        light: (B, 27) spherical-harmonic coefficients.
        extractors: name of the set of extractors that made it; features of different sets
            cannot be compared.

    Raises:
        RepresentationError: when a tensor has another type, shape or range.
    """

    crop_size: int
    photo_from_crop: Tensor
    identity_tokens: Tensor
    identity: Tensor
    region_features: Tensor
    region_present: Tensor
    parsing: Tensor
    landmarks: Tensor
    shape: Tensor
    expression: Tensor
    rotation: Tensor
    scale: Tensor
    translation: Tensor
    residual: Tensor
    gaze: Tensor
    texture: Tensor
    light: Tensor
    extractors: str

    def __post_init__(self) -> None:
        if type(self.crop_size) is not int or not 1 <= self.crop_size <= 8192:
            raise RepresentationError(f"crop_size is {self.crop_size!r}, expected 1 to 8192 pixels")
        if not isinstance(self.extractors, str) or not re.fullmatch(
            r"[\w.+-]{1,64}", self.extractors
        ):
            raise RepresentationError(
                f"extractors is {self.extractors!r}, expected a name of 1 to 64 letters and digits"
            )
        _check_layout(self.tensors(), self.crop_size)
        _check_ranges(self.tensors())

    @property
    def batch_size(self) -> int:
        """Number of faces B, at least 1."""
        return self.scale.shape[0]

    def __len__(self) -> int:
        return self.batch_size

    @property
    def device(self) -> torch.device:
        """Where all tensors but ``photo_from_crop`` are."""
        return self.identity.device

    def tensors(self) -> Tensors:
        """All tensors by field name, not copied."""
        return {name: getattr(self, name) for name in TENSOR_FIELDS}

    def _map(self, function: Callable[[Tensor], Tensor]) -> FaceRepresentation:
        tensors: dict[str, Any] = {
            name: function(tensor) for name, tensor in self.tensors().items()
        }
        return dataclasses.replace(self, **tensors)

    def __getitem__(self, index: int | slice) -> FaceRepresentation:
        """One face (as a batch of one) or a slice of the batch.

        Raises:
            IndexError: when there is no such face.
        """
        if isinstance(index, int):
            if not -self.batch_size <= index < self.batch_size:
                raise IndexError(f"face {index} of {self.batch_size}")
            start = index % self.batch_size
            index = slice(start, start + 1)
        chosen = index
        return self._map(lambda tensor: tensor[chosen])

    def to(self, device: torch.device | str) -> FaceRepresentation:
        """The same on another device; ``photo_from_crop`` stays where it is."""
        moved: dict[str, Any] = {
            n: t.to(device) for n, t in self.tensors().items() if n != "photo_from_crop"
        }
        return dataclasses.replace(self, **moved)

    def detach(self) -> FaceRepresentation:
        """The same without gradients."""
        return self._map(Tensor.detach)

    @staticmethod
    def cat(representations: Iterable[FaceRepresentation]) -> FaceRepresentation:
        """Stacks faces of one crop size and one set of extractors into one batch.

        Raises:
            RepresentationError: when the list is empty or the parts do not fit together.
        """
        parts = list(representations)
        if not parts:
            raise RepresentationError("no representation to put together")
        first = parts[0]
        for part in parts[1:]:
            if (part.crop_size, part.extractors) != (first.crop_size, first.extractors):
                raise RepresentationError(
                    f"cannot put together faces of {first.extractors} at {first.crop_size} px and "
                    f"of {part.extractors} at {part.crop_size} px; decompose them with one model"
                )
            for name in TENSOR_FIELDS:
                here, there = getattr(first, name).shape[1:], getattr(part, name).shape[1:]
                if here != there:
                    raise RepresentationError(
                        f"{name} has {tuple(here)} values per face in one part and {tuple(there)} "
                        "in another"
                    )
        joined: dict[str, Any] = {
            name: torch.cat([getattr(part, name) for part in parts]) for name in TENSOR_FIELDS
        }
        return dataclasses.replace(first, **joined)

    def to_bytes(self) -> bytes:
        """The representation as a safetensors file."""
        # Fields may be views of one network output; safetensors refuses shared memory.
        tensors = {n: t.detach().cpu().clone().contiguous() for n, t in self.tensors().items()}
        metadata = {
            "format": FORMAT,
            "format_version": str(FORMAT_VERSION),
            "crop_size": str(self.crop_size),
            "extractors": self.extractors,
        }
        return safetensors.torch.save(tensors, metadata)

    def save(self, path: str | Path) -> None:
        """Writes a temporary file beside ``path``, then renames it."""
        write_bytes_atomic(Path(path), self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> FaceRepresentation:
        """Reads a file written by ``save``, of this or an older format, onto the CPU.

        Raises:
            RepresentationError: when the file is missing, damaged, foreign, too large, or newer
                than this program.
        """
        path = Path(path)
        try:
            if not path.is_file():
                raise RepresentationError(f"{path}: there is no such file")
            with path.open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise RepresentationError(f"{path}: cannot be read: {error.strerror}") from error
        except ValueError as error:  # a NUL byte in the path
            raise RepresentationError(f"{path!r} is not a path") from error
        try:
            return cls.from_bytes(data)
        except RepresentationError as error:
            raise RepresentationError(f"{path}: {error}") from error

    @classmethod
    def from_bytes(cls, data: bytes) -> FaceRepresentation:
        """Inverse of ``to_bytes``; errors as ``load``."""
        if len(data) > MAX_FILE_BYTES:
            raise RepresentationError(
                f"larger than {MAX_FILE_BYTES // 2**20} MB, too large for a face representation"
            )
        metadata = _read_metadata(data)
        version = _check_version(metadata)
        try:
            tensors = safetensors.torch.load(data)
        except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise RepresentationError("damaged or cut short; save it again") from error
        for old in range(version, FORMAT_VERSION):
            tensors, metadata = MIGRATIONS[old](tensors, metadata)
        if missing := sorted(set(TENSOR_FIELDS) - set(tensors)):
            raise RepresentationError(f"damaged: {', '.join(missing)} missing")
        if unknown := sorted(set(tensors) - set(TENSOR_FIELDS)):
            raise RepresentationError(f"damaged: unknown fields {', '.join(unknown)[:200]}")
        try:
            crop_size = int(metadata.get("crop_size", ""))
        except ValueError as error:
            raise RepresentationError("damaged: crop_size is no number") from error
        return cls(crop_size=crop_size, extractors=metadata.get("extractors", ""), **tensors)


def factor_inputs(representation: FaceRepresentation) -> dict[str, Tensor]:
    """What the representation adapter turns into tokens, one entry per token input.

    Args:
        representation: B faces.

    Returns:
        In the order of ``TOKEN_INPUTS``: ``identity`` (B, Ni, Di); ``pose`` (B, 1, 9), the first
        two columns of the rotation, log(scale) and translation / crop_size - 0.5;
        ``expression`` (B, 1, Ke); ``gaze`` (B, 1, 4), radians; ``texture`` (B, 1, Dt);
        ``light`` (B, 1, 27); ``region:<name>`` (B, 1, Dr) for the 13 regions, to be replaced by
        a null token where ``region_present`` is false.
    """
    rep = representation
    batch = rep.batch_size
    # Two columns determine a rotation without the jumps of angles or quaternions.
    columns = rep.rotation[:, :, :2].transpose(1, 2).reshape(batch, 6)
    place = rep.translation / rep.crop_size - 0.5
    inputs = {
        "identity": rep.identity_tokens,
        "pose": torch.cat([columns, rep.scale.log()[:, None], place], dim=1)[:, None],
        "expression": rep.expression[:, None],
        "gaze": rep.gaze.reshape(batch, 1, 4),
        "texture": rep.texture[:, None],
        "light": rep.light[:, None],
    }
    for index, region in enumerate(REGIONS):
        inputs[region_input(region)] = rep.region_features[:, index : index + 1]
    return inputs


def _check_layout(tensors: Tensors, crop_size: int) -> None:
    """Types, shapes and devices; axes with the same letter must have the same length."""
    sizes: dict[str, int] = {"S": crop_size}
    for name, (axes, dtypes) in _LAYOUT.items():
        tensor: Any = tensors[name]
        if not isinstance(tensor, Tensor):
            raise RepresentationError(f"{name} is a {type(tensor).__name__}, expected a tensor")
        if tensor.dtype not in dtypes:
            expected = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
            raise RepresentationError(
                f"{name} holds {str(tensor.dtype).removeprefix('torch.')}, expected {expected}"
            )
        expected_shape = "(" + ", ".join(str(sizes.get(str(a), a)) for a in axes) + ")"
        fits = tensor.ndim == len(axes) and min(tensor.shape) > 0
        for axis, size in zip(axes, tensor.shape, strict=False):
            wanted = axis if isinstance(axis, int) else sizes.setdefault(axis, size)
            fits = fits and size == wanted
        if not fits:
            raise RepresentationError(
                f"{name} has shape {tuple(tensor.shape)}, expected {expected_shape}"
            )
    devices = {str(t.device) for n, t in tensors.items() if n != "photo_from_crop"}
    if len(devices) > 1:
        raise RepresentationError(f"tensors are on different devices: {', '.join(sorted(devices))}")


@torch.no_grad()
def _check_ranges(tensors: Tensors) -> None:
    """Finite and in range. Each condition is a flag; they are read together, in one transfer."""
    flags: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and name != "photo_from_crop":
            flags[f"{name} holds values that are not finite"] = tensor.isfinite().all()
    rotation = tensors["rotation"].float()
    off = (rotation.transpose(1, 2) @ rotation - torch.eye(3, device=rotation.device)).abs()
    # A generous tolerance: half precision must pass, a forgotten normalisation must not.
    flags["identity is not of unit length"] = (
        tensors["identity"].float().norm(dim=1) - 1
    ).abs().max() < 0.01
    flags["parsing holds unknown classes"] = tensors["parsing"].max() < len(PARSING_CLASSES)
    flags["rotation is no rotation"] = (off.amax() < 0.01) & (torch.linalg.det(rotation) > 0).all()
    flags["scale is not above 0"] = (tensors["scale"] > 0).all()
    flags["gaze is beyond 180 degrees"] = (tensors["gaze"].abs() <= torch.pi).all()
    answers = torch.stack(list(flags.values())).tolist()
    matrix = tensors["photo_from_crop"]
    linear = matrix[:, :, :2]
    area = linear[:, 0, 0] * linear[:, 1, 1] - linear[:, 0, 1] * linear[:, 1, 0]
    flags["photo_from_crop cannot be inverted"] = area
    answers.append(bool(matrix.isfinite().all() and (area.abs() > 1e-12).all()))
    for problem, fine in zip(flags, answers, strict=True):
        if not fine:
            raise RepresentationError(problem)


def _read_metadata(data: bytes) -> dict[str, str]:
    """The text part of a safetensors header, read without touching the tensors.

    Read first and by hand: a newer file may hold what this version of safetensors cannot load.
    """
    foreign = RepresentationError("not a face representation (safetensors written by FaceX)")
    if len(data) < 8:
        raise foreign
    length = struct.unpack("<Q", data[:8])[0]
    if not 2 <= length <= MAX_HEADER_BYTES or data[8:9] != b"{":
        raise foreign
    if len(data) < 8 + length:
        raise RepresentationError("damaged or cut short; save it again")
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise foreign from error
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise foreign
    return {str(key): str(value) for key, value in metadata.items()}


def _check_version(metadata: dict[str, str]) -> int:
    text = metadata.get("format_version", "")
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise RepresentationError("damaged: format_version is no number")
    version = int(text)
    if version > FORMAT_VERSION:
        raise RepresentationError(
            f"written by a newer FaceX (format {version}, this one reads up to {FORMAT_VERSION}); "
            "update with: pip install --upgrade facex"
        )
    if version < FORMAT_VERSION and version not in MIGRATIONS:
        raise RepresentationError(f"damaged: there is no format {version}")
    return version
