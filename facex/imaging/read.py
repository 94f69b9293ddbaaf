# SPDX-License-Identifier: Apache-2.0
"""Open a photo: limits, upright, sRGB, alpha. Every failure is one sentence.

Order of work: bytes, header, limits, pixels, EXIF turn, ICC profile to sRGB. The original mode and
profile stay with the photo, because `write` returns unchanged pixels as they were stored.
"""

from __future__ import annotations

import io
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from facex.errors import ImageRejected, MissingExtra
from facex.imaging.profiles import alpha_channel, to_srgb

ImageSource: TypeAlias = "str | Path | bytes | Image.Image | NDArray[Any]"
"""Whatever `read_photo` opens: a path, the bytes of a file, a PIL image or an array."""

FORMATS: Final = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF")
"""What Pillow may decode. A short list, since every decoder is a door for hostile files."""
MAX_FILE_BYTES: Final = 512 * 2**20
MIN_SIDE: Final = 16
MAX_SIDE: Final = 30_000

_READABLE = "give a JPEG, PNG, WebP, AVIF, TIFF, BMP, GIF or HEIC file"
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_pillow_limit = threading.Lock()


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture as the library works on it, with what is needed to write it back.

    Attributes:
        image: 8 bit RGB, upright, sRGB, without alpha.
        original: the same picture upright, in the mode and colours of the file.
        alpha: mode L, or None if the file has no transparency.
        icc_profile: the file's colour profile; None if there is none or it cannot be used.
        format: Pillow's name of the file format; None for arrays and images made in memory.
        dpi: pixels per inch (x, y) if the file says so.
        path: where the file lies, or None.
        bits: bits per channel in the file.
        frames: number of pictures in the file; only the first one is read.
    """

    image: Image.Image
    original: Image.Image
    alpha: Image.Image | None = None
    icc_profile: bytes | None = None
    format: str | None = None
    dpi: tuple[float, float] | None = None
    path: Path | None = None
    bits: int = 8
    frames: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, upright."""
        return self.image.size

    @property
    def array(self) -> NDArray[np.uint8]:
        """The sRGB pixels, (H, W, 3) uint8; read-only."""
        return np.asarray(self.image)


def read_photo(source: ImageSource, *, max_pixels: float = 200e6) -> Photo:
    """Open a photo and bring it upright into sRGB.

    Args:
        source: path, bytes of a file, PIL image, or array (H, W), (H, W, 3) or (H, W, 4), uint8
            or float in 0..1.
        max_pixels: larger pictures are refused before they are decoded.

    Returns:
        The photo; a file with several frames gives its first.

    Raises:
        ImageRejected: missing, empty, damaged, too large or too small, or no picture.
        MissingExtra: a HEIC file without the extra ``heic``.
    """
    limit = int(max_pixels)
    if isinstance(source, np.ndarray):
        return _finish(_image_from_array(source), "the array", limit)
    if isinstance(source, Image.Image):
        name = str(getattr(source, "filename", "") or "the picture")
        return _finish(_loaded(source, name, limit), name, limit, bits=_bits(source))
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _read_bytes(bytes(source), "the picture", limit)
    if not isinstance(source, (str, Path)):
        raise ImageRejected(
            f"a {type(source).__name__} is no picture: give a path, bytes, a PIL image or an array"
        )
    path = Path(source)
    return _read_bytes(_file_bytes(path), str(path), limit, path)


def read_mask(source: ImageSource, size: tuple[int, int]) -> NDArray[np.float32]:
    """Open a mask: white is edited, black is kept.

    If the colours are all the same and there is an alpha channel, the alpha is the mask.

    Args:
        source: as in `read_photo`; an array (H, W) of float in 0..1 or bool keeps its precision.
        size: width and height of the photo it belongs to.

    Returns:
        (H, W) float32 in 0..1.

    Raises:
        ImageRejected: no usable picture, or its shape differs from the photo's by more than 2 %.
    """
    if isinstance(source, np.ndarray) and source.ndim == 2 and source.dtype.kind in "fb":
        mask = _checked_floats(source.astype(np.float32))
    else:
        photo = read_photo(source)
        chosen = photo.image.convert("L")
        constant = bool((photo.array == photo.array[0, 0]).all())
        if photo.alpha is not None and constant:
            chosen = photo.alpha
        mask = np.asarray(chosen, np.float32) / 255
    height, width = mask.shape
    if (width, height) == size:
        return mask
    name = source if isinstance(source, (str, Path)) else "the mask"
    told = f"{name} is {width}x{height} pixels but the photo is {size[0]}x{size[1]}"
    if abs(width * size[1] / (height * size[0]) - 1) > 0.02:
        raise ImageRejected(f"{told}: give a mask of the photo's size")
    warnings.warn(f"{told}: it was rescaled", stacklevel=2)
    resized = Image.fromarray(mask).resize(size, Image.Resampling.BILINEAR)
    return np.clip(np.asarray(resized, np.float32), 0, 1)


# ---------------------------------------------------------------- bytes to pixels


def _file_bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise ImageRejected(f"{path} is a folder: give a picture file")
        if (length := path.stat().st_size) > MAX_FILE_BYTES:
            allowed = MAX_FILE_BYTES // 2**20
            raise ImageRejected(
                f"{path} has {length / 2**20:.0f} MiB: give a file of at most {allowed} MiB"
            )
        if not path.is_file():
            raise ImageRejected(f"{path} is no ordinary file: {_READABLE}")
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageRejected(f"{path} does not exist: check the name") from None
    except PermissionError:
        raise ImageRejected(f"{path} may not be read: check its access rights") from None
    except (OSError, ValueError) as error:
        raise ImageRejected(f"{path} cannot be read ({error}): check the name") from error


def _read_bytes(data: bytes, name: str, limit: int, path: Path | None = None) -> Photo:
    if not data:
        raise ImageRejected(f"{name} is empty: {_READABLE}")
    if len(data) > MAX_FILE_BYTES:
        raise ImageRejected(f"{name} is too long: give at most {MAX_FILE_BYTES // 2**20} MiB")
    if _is_heic(data):
        image, bits = _decode_heic(data, name, limit)
        return _finish(image, name, limit, path=path, bits=bits, format="HEIC")
    image = _opened(data, name, limit)
    bits, frames = _bits(image), _frames(image)
    # a phone's JPEG with a depth map or preview behind it is an ordinary JPEG to us
    kind, frames = ("JPEG", 1) if image.format == "MPO" else (image.format, frames)
    image = _loaded(image, name, limit)
    return _finish(image, name, limit, path=path, bits=bits, frames=frames, format=kind)


def _opened(data: bytes, name: str, limit: int) -> Image.Image:
    """Read the header only. Pillow's bomb check is a module variable, hence the lock."""
    with _pillow_limit, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, limit
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            if image.format == "PNG":  # its checksums are not looked at while decoding
                Image.open(io.BytesIO(data), formats=("PNG",)).verify()
            return image
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise ImageRejected(_too_large(name, limit)) from None
        except UnidentifiedImageError:
            raise ImageRejected(f"{name} is no picture that can be read: {_READABLE}") from None
        except Exception as error:  # decoders of damaged files raise anything
            raise _damaged(name, error) from error
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _loaded(image: Image.Image, name: str, limit: int) -> Image.Image:
    _check_size(image.size, name, limit)
    try:
        image.load()
    except Exception as error:  # decoders of damaged files raise anything
        raise _damaged(name, error) from error
    return image


def _decode_heic(data: bytes, name: str, limit: int) -> tuple[Image.Image, int]:
    try:
        import pi_heif
    except ImportError:
        raise MissingExtra("reading HEIC photos", "heic") from None
    try:
        container = pi_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
        _check_size(container.size, name, limit)
        return container.to_pillow(), int(container.info.get("bit_depth", 8))
    except ImageRejected:
        raise
    except Exception as error:  # decoders of damaged files raise anything
        raise _damaged(name, error) from error


def _is_heic(data: bytes) -> bool:
    """Whether the ISO media header lists a HEVC brand and no AVIF brand."""
    if data[4:8] != b"ftyp":
        return False
    head = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
    brands = {head[i : i + 4] for i in range(0, len(head), 4)}
    return bool(brands & _HEIC_BRANDS) and not brands & {b"avif", b"avis"}


def _check_size(size: tuple[int, int], name: str, limit: int) -> None:
    width, height = size
    if min(size) < MIN_SIDE:
        raise ImageRejected(
            f"{name} is only {width}x{height} pixels: give a picture of at least "
            f"{MIN_SIDE} pixels on each side"
        )
    if max(size) > MAX_SIDE:
        raise ImageRejected(
            f"{name} is {width}x{height} pixels: scale it to at most {MAX_SIDE} pixels a side"
        )
    if width * height > limit:
        raise ImageRejected(_too_large(name, limit))


def _too_large(name: str, limit: int) -> str:
    return f"{name} has more than {limit / 1e6:g} million pixels: scale it down first"


def _damaged(name: str, error: Exception) -> ImageRejected:
    if isinstance(error, MemoryError):
        return ImageRejected(f"{name} does not fit into memory: scale it down first")
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return ImageRejected(f"{name} is damaged or cut off ({reason}): get or export it again")


def _bits(image: Image.Image) -> int:
    """Bits per channel in the file; asked before decoding, which reduces colours to 8 bit."""
    if image.mode == "1":
        return 1
    raw = " ".join(str(tile[3]) for tile in getattr(image, "tile", ()))
    deep_grey = image.mode == "I" and image.format == "PNG"
    if image.mode.startswith("I;16") or ";16" in raw or deep_grey:
        return 16
    return 32 if image.mode in ("I", "F") else 8


def _frames(image: Image.Image) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # a damaged second frame is no reason to refuse the first
        return 1


# ---------------------------------------------------------------- pixels to a photo


def _finish(
    image: Image.Image,
    name: str,
    limit: int,
    *,
    path: Path | None = None,
    bits: int = 8,
    frames: int = 1,
    format: str | None = None,
) -> Photo:
    _check_size(image.size, name, limit)
    original = _upright(image, name)
    try:
        rgb, profile = to_srgb(original, name)
        alpha = alpha_channel(original)
    except (OSError, ValueError, MemoryError) as error:
        raise _damaged(name, error) from error
    dpi = _dpi(original.info.get("dpi"))
    return Photo(rgb, original, alpha, profile, format, dpi, path, bits, frames)


def _upright(image: Image.Image, name: str) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF must not cost the picture
        warnings.warn(f"{name}: its orientation cannot be read and was ignored", stacklevel=2)
        copy = image.copy()
        copy.info.pop("exif", None)
        return copy


def _dpi(value: object) -> tuple[float, float] | None:
    try:
        x, y = (float(v) for v in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if 1 < x < 1e5 and 1 < y < 1e5 else None


def _image_from_array(array: NDArray[Any]) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ImageRejected(
            f"an array of shape {array.shape} is no picture: give (H, W), (H, W, 3) or (H, W, 4)"
        )
    if array.dtype.kind == "f":
        array = np.rint(_checked_floats(array) * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ImageRejected(f"an array of {array.dtype} is no picture: give uint8 or float in 0..1")
    return Image.fromarray(np.ascontiguousarray(array))


def _checked_floats(array: NDArray[Any]) -> NDArray[Any]:
    if array.size and not (array.min() >= -1e-3 and array.max() <= 1 + 1e-3):  # also refuses NaN
        raise ImageRejected("an array of floats must lie in 0..1: divide 8 bit values by 255")
    return np.clip(array, 0, 1)
