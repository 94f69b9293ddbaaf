# SPDX-License-Identifier: Apache-2.0
"""Write a photo: the original's colours where nothing changed, no private data, no half file."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin

from facex.errors import OptionError, OutputError
from facex.imaging.profiles import colour_planes, profile_transform
from facex.imaging.read import Photo


@dataclass(frozen=True)
class FileFormat:
    """A format by the pixel modes that it can store."""

    name: str
    modes: tuple[str, ...]


_JPEG = FileFormat("JPEG", ("L", "RGB", "CMYK"))
_PNG = FileFormat("PNG", ("L", "LA", "RGB", "RGBA", "I;16"))
_WEBP = FileFormat("WEBP", ("RGB", "RGBA"))
_AVIF = FileFormat("AVIF", ("RGB", "RGBA"))
_TIFF = FileFormat("TIFF", ("L", "LA", "RGB", "RGBA", "CMYK", "I;16"))
_BMP = FileFormat("BMP", ("L", "RGB"))

OUTPUT_FORMATS: Final = {
    ".jpg": _JPEG, ".jpeg": _JPEG, ".png": _PNG, ".webp": _WEBP, ".avif": _AVIF,
    ".tif": _TIFF, ".tiff": _TIFF, ".bmp": _BMP,
}  # fmt: skip
"""Suffix of the output file, in lower case, to the format that it means."""


def write_photo(
    image: Image.Image,
    path: str | Path,
    *,
    like: Photo | None = None,
    xmp: bytes | None = None,
    overwrite: bool = True,
    quality: int = 95,
) -> Path:
    """Write a picture in the format of the suffix, complete or not at all.

    Args:
        image: the result, RGB, sRGB, upright.
        path: where to; the suffix chooses the format (`OUTPUT_FORMATS`).
        like: the photo that was edited. Pixels equal to ``like.image`` are stored as the file had
            them, changed ones are converted into its colour profile; alpha, profile and
            resolution are kept where the format can. EXIF never is.
        xmp: an XMP packet to embed (not in BMP).
        overwrite: False refuses to replace a file.
        quality: 1 to 100 for JPEG (always 4:4:4), WebP and AVIF; 100 makes WebP lossless.

    Returns:
        The path written.

    Raises:
        OutputError: unknown suffix, missing folder, no rights, full disk, existing file, or more
            pixels than the format can hold. Nothing is left behind.
        OptionError: quality out of range.
    """
    path = Path(path)
    output_format(path)
    _check_target(path, overwrite)
    data = encode_photo(image, path.suffix, like=like, xmp=xmp, quality=quality)
    return write_bytes_atomic(path, data, overwrite=overwrite)


def output_format(path: str | Path) -> FileFormat:
    """The format that a suffix stands for.

    Raises:
        OutputError: it is none of `OUTPUT_FORMATS`.
    """
    path = Path(path)
    found = OUTPUT_FORMATS.get(path.suffix.lower())
    if found is None:
        known = ", ".join(OUTPUT_FORMATS)
        raise OutputError(f"{path} has no known picture suffix: end its name with one of {known}")
    return found


def encode_photo(
    image: Image.Image,
    suffix: str,
    *,
    like: Photo | None = None,
    xmp: bytes | None = None,
    quality: int = 95,
) -> bytes:
    """The bytes of the file that `write_photo` would write; same arguments and errors."""
    if not 1 <= quality <= 100:
        raise OptionError(f"quality {quality} is out of range: give 1 to 100")
    fmt = output_format(f"picture{suffix}")
    image = image if image.mode == "RGB" else image.convert("RGB")
    stored, profile = _stored_colours(image, like, fmt.modes)
    if like is not None and like.alpha is not None and like.size == image.size:
        stored = _with_alpha(stored, like.alpha, fmt.modes)
    stored.info = {}  # savers fall back to comments, profiles and EXIF found here
    options = _options(fmt.name, quality, xmp)
    if profile is not None and fmt is not _BMP:
        options["icc_profile"] = profile
    if like is not None and like.dpi is not None and fmt not in (_WEBP, _AVIF):
        options["dpi"] = like.dpi
    buffer = io.BytesIO()
    try:
        stored.save(buffer, fmt.name, **options)
    except (OSError, ValueError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OutputError(
            f"the {fmt.name} encoder cannot store this picture ({reason}): use .png or .tif"
        ) from error
    return buffer.getvalue()


def write_bytes_atomic(path: str | Path, data: bytes, *, overwrite: bool = True) -> Path:
    """Write a file through a temporary one in the same folder, so that no half file is ever seen.

    Also a Ctrl-C in between leaves nothing. A link is written through, not replaced.

    Raises:
        OutputError: missing folder, no rights, full disk, or the file exists and may not be
            replaced.
    """
    path = Path(path)
    _check_target(path, overwrite)
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name[:80]}.{secrets.token_hex(6)}.part")
    try:
        # O_EXCL and 0o666: nobody else's file, and the rights that the user's umask asks for
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with open(os.open(temporary, flags, 0o666), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        _remove(temporary)
        raise OutputError(_why(path, error)) from error
    except BaseException:  # Ctrl-C too
        _remove(temporary)
        raise
    return path


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _check_target(path: Path, overwrite: bool) -> None:
    try:
        if path.is_dir():
            raise OutputError(f"{path} is a folder: give the name of a file")
        if path.exists() and not path.is_file():
            raise OutputError(f"{path} is no ordinary file: give the name of a picture")
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists already: choose another name or allow overwriting")
        if not path.parent.is_dir():
            raise OutputError(f"{path.parent} is no folder: create it first")
    except (OSError, ValueError) as error:
        raise OutputError(_why(path, error)) from error


def _why(path: Path, error: OSError | ValueError) -> str:
    code = getattr(error, "errno", None)
    if code in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG):
        return f"{path} cannot be written, the disk is full: free some space"
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{path} may not be written: choose a folder you have rights to"
    if code in (errno.ENOENT, errno.ENOTDIR):
        return f"{path.parent} is no folder: create it first"
    reason = getattr(error, "strerror", None) or error
    return f"{path} cannot be written ({reason}): choose another name or folder"


def _options(name: str, quality: int, xmp: bytes | None) -> dict[str, Any]:
    table: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": quality, "subsampling": 0},
        "PNG": {"compress_level": 6},
        "WEBP": {"quality": quality, "lossless": quality == 100, "exact": True},
        "AVIF": {"quality": quality, "subsampling": "4:4:4", "speed": 6},
        "TIFF": {"compression": "tiff_adobe_deflate"},
        "BMP": {},
    }
    options = table[name]
    if xmp is None:
        return options
    if name == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8"))
        options["pnginfo"] = info
    elif name == "TIFF":
        options["tiffinfo"] = {700: xmp}
    elif name != "BMP":
        options["xmp"] = xmp
    return options


# ---------------------------------------------------------------- colours of the original


def _stored_colours(
    image: Image.Image, like: Photo | None, modes: tuple[str, ...]
) -> tuple[Image.Image, bytes | None]:
    """The pixels to store and the profile they are in.

    Falls back to plain sRGB without a profile when the format has no such mode, when a grey photo
    got colour, or when the profile cannot be written into.
    """
    if like is None or like.size != image.size:
        return image.copy(), None
    new = np.asarray(image)
    changed = np.any(new != like.array, axis=2)
    profile = like.icc_profile
    planes = _original_planes(like, deep="I;16" in modes)
    grey = planes.ndim == 2
    if _mode(planes) not in modes or (grey and not _is_grey(new[changed])):
        planes, profile = like.array, None
    if not changed.any():
        return _as_image(planes), profile
    rows, columns = _span(changed.any(1)), _span(changed.any(0))
    try:
        edited = _into_profile(new[rows, columns], planes, profile)
    except (ImageCms.PyCMSError, OSError):
        return image.copy(), None
    stored = planes.copy()
    inside = changed[rows, columns]
    stored[rows, columns][inside] = edited[inside]
    return _as_image(stored), profile


def _original_planes(like: Photo, *, deep: bool) -> NDArray[Any]:
    original = like.original
    if deep and original.mode.startswith("I;16"):
        return np.asarray(original).astype(np.uint16)
    planes = colour_planes(original, like.icc_profile)
    return like.array if planes.mode == "LAB" else np.asarray(planes)


def _mode(planes: NDArray[Any]) -> str:
    if planes.ndim == 2:
        return "I;16" if planes.dtype == np.uint16 else "L"
    return "RGB" if planes.shape[2] == 3 else "CMYK"


def _as_image(planes: NDArray[Any]) -> Image.Image:
    # four channels would be taken for RGBA; the other modes follow from the array
    return Image.fromarray(planes, "CMYK") if _mode(planes) == "CMYK" else Image.fromarray(planes)


def _is_grey(pixels: NDArray[np.uint8]) -> bool:
    """Whether all pixels (N, 3) are neutral."""
    return bool((pixels == pixels[:, :1]).all())


def _span(used: NDArray[np.bool_]) -> slice:
    where = np.flatnonzero(used)
    return slice(int(where[0]), int(where[-1]) + 1)


def _into_profile(
    srgb: NDArray[np.uint8], planes: NDArray[Any], profile: bytes | None
) -> NDArray[Any]:
    """Bring sRGB pixels (H, W, 3) into the mode of ``planes`` and its profile."""
    mode = {"I;16": "L"}.get(_mode(planes), _mode(planes))
    image = Image.fromarray(np.ascontiguousarray(srgb))
    transform = None if profile is None else profile_transform(profile, mode, to_srgb=False)
    if transform is not None:
        image = ImageCms.applyTransform(image, transform) or image
    edited = np.asarray(image.convert(mode))
    return edited.astype(np.uint16) * 257 if planes.dtype == np.uint16 else edited


def _with_alpha(stored: Image.Image, alpha: Image.Image, modes: tuple[str, ...]) -> Image.Image:
    if stored.mode in ("L", "RGB") and stored.mode + "A" in modes:
        stored.putalpha(alpha)
    return stored
