# SPDX-License-Identifier: Apache-2.0
"""Correction at native resolution (DESIGN 6): the model's change, on the photo's own pixels.

The model works on a small crop, but the reference can be painted from the photos' original pixels.
So the result is the native reference plus the *difference* the model made, enlarged. What the
autoencoder loses cancels out, and an edit that changes nothing returns the reference exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from facex.imaging.luma import LUMA


def correct_native(
    reference: Tensor, known: Tensor, decoded: Tensor, redecoded: Tensor, kappa: Tensor
) -> Tensor:
    """Apply a crop-sized answer to a reference of any size.

    Args:
        reference: ``(B, 3, H, W)`` in [-1, 1], painted at native resolution.
        known: ``(B, 1, H, W)`` in [0, 1], what of it is known.
        decoded: ``(B, 3, S, S)``, the model's answer D(z).
        redecoded: ``(B, 3, S, S)``, the crop-sized reference through the autoencoder D(E(I_R)).
        kappa: ``(B, 1, h, w)`` in [0, 1], the model's confidence in the reference, or
            :func:`structure_trust`.

    Returns:
        ``(B, 3, H, W)``: ``I_R + up(D(z) - D(E(I_R)))`` where kappa is 1, ``up(D(z))`` where 0.
    """
    size = reference.shape[-2:]
    # Of the distrust, because enlarging a plain 0 is exact and enlarging a plain 1 may be not.
    trust = (1 - enlarge(1 - kappa, size)).clamp(0, 1) * known
    change = decoded - redecoded
    corrected = reference + enlarge(change, size)
    if bool((trust >= 1).all()):
        return corrected
    drawn = enlarge(decoded, size)
    return torch.where(trust >= 1, corrected, trust * corrected + (1 - trust) * drawn)


def compose(
    reference: Tensor,
    target: Tensor,
    known: Tensor,
    edit: Tensor,
    decoded: Tensor,
    redecoded: Tensor,
    kappa: Tensor,
) -> Tensor:
    """The corrected reference in its surroundings.

    Args:
        reference: as for :func:`correct_native`.
        target: ``(B, 3, H, W)``, what stays outside of the edit.
        known: as for :func:`correct_native`.
        edit: ``(B, 1, H, W)`` in [0, 1].
        decoded: as for :func:`correct_native`.
        redecoded: likewise.
        kappa: likewise.

    Returns:
        ``(B, 3, H, W)`` in [-1, 1].
    """
    final = correct_native(reference, known, decoded, redecoded, kappa)
    return (target + (final - target) * edit).clamp(-1, 1)


def structure_trust(decoded: Tensor, redecoded: Tensor) -> Tensor:
    """How far the reference's fine detail still fits what the model made of it.

    A base that draws from the reference has no kappa to tell repair from replacement: both are a
    change of the reference. Light and colour change smoothly and keep every pore; where edges
    moved, something else is there now and the detail under it must go.

    Args:
        decoded: ``(B, 3, S, S)`` in [-1, 1], the answer.
        redecoded: ``(B, 3, S, S)``, the reference through the autoencoder.

    Returns:
        ``(B, 1, S, S)`` in [0, 1]; exactly 1 where nothing changed.
    """
    size = decoded.shape[-1]
    near, wide = max(3, size // 42 | 1), max(5, size // 16 | 1)
    change = decoded - redecoded
    moved = (change - box_blur(change, wide)).abs().mean(1, keepdim=True)
    amount = ((box_blur(moved, near) - _KEEP) / (_DROP - _KEEP)).clamp(0, 1)
    return 1 - amount * amount * (3 - 2 * amount)


_KEEP, _DROP = 0.05, 0.2
"""Mean change of fine structure, of 2 in all: below the first all detail stays, above the second
none does."""


def settle(
    decoded: Tensor,
    redecoded: Tensor,
    known: Tensor,
    geometry: Tensor,
    edit: Tensor,
    *,
    placed: bool,
    head: Tensor | None = None,
    same: Tensor | None = None,
    eyes: Tensor | None = None,
    trusted: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """What of a small base's change is taken, and how far the reference's detail stays.

    Args:
        decoded: ``(B, 3, S, S)`` in [-1, 1], the answer.
        redecoded: ``(B, 3, S, S)``, the reference through the autoencoder.
        known: ``(B, 1, S, S)`` in [0, 1].
        geometry: ``(B, 3, S, S)``, position map of the result's mesh.
        edit: ``(B, 1, S, S)`` in [0, 1], what may change.
        placed: every part was placed or filled from photos; not so in holes, and where all is
            drawn from codes.
        head: as for :func:`uncovered`.
        same: likewise.
        eyes: ``(B, 1, S, S)``, eyes that stay as placed; none by default.
        trusted: factor on the trust in the reference, as asked for.

    Returns:
        The answer and the trust ``(B, 1, S, S)``, for :func:`correct_native`.
    """
    if not placed:
        decoded = keep_tint(decoded, redecoded, known * trusted)
    else:
        change = keep_placed(decoded, redecoded, edit, trusted) - redecoded
        change = change + (light_goes_on(change, known, edit, geometry) - change) * trusted
        decoded = redecoded + change * (1 - uncovered(known, geometry, head, same) * trusted)
    if eyes is not None:
        decoded = keep_look(decoded, redecoded, eyes * known * trusted)
    return decoded, structure_trust(decoded, redecoded) * trusted


def uncovered(
    known: Tensor, geometry: Tensor, head: Tensor | None = None, same: Tensor | None = None
) -> Tensor:
    """What is filled or stays beside a face: the ground, ``(B, 1, S, S)`` in [0, 1].

    Filled from what is around it such ground is plain; a small base draws specks there, and makes
    what stays of it a little lighter or darker than beyond the edit.

    Args:
        known: ``(B, 1, S, S)`` in [0, 1].
        geometry: ``(B, 3, S, S)``, position map of the result's mesh, 0 outside of it.
        head: ``(B,)`` bool, whether hair is edited too; by default it is. Where it stays, what is
            filled above the mesh is forehead.
        same: ``(B, 1, S, S)``, :func:`as_it_was`; nowhere by default.
    """
    width = max(3, known.shape[-1] // 50 | 1)
    mesh = (geometry != 0).any(1, keepdim=True).to(known.dtype)
    # Skin ends a little beyond the mesh, and its rim has the light of the rest of it.
    if head is not None:
        mesh = torch.where(head.to(mesh.device)[:, None, None, None], mesh, with_forehead(mesh))
    outside = 1 - F.max_pool2d(mesh, width, 1, width // 2)
    ground = (known < _SURE).to(known)
    if same is not None:
        ground = torch.maximum(ground, same)
    return box_blur(outside * ground, width) * outside


def as_it_was(reference: Tensor, target: Tensor) -> Tensor:
    """Where a reference shows the photo as it was, ``(B, 1, S, S)``, 0 or 1.

    Args:
        reference: ``(B, 3, S, S)`` in [-1, 1].
        target: likewise.
    """
    other = ((reference - target).abs().amax(1, keepdim=True) > _SAME).to(reference)
    width = max(3, other.shape[-1] // 50 | 1)
    return 1 - F.max_pool2d(other, width, 1, width // 2)


def light_goes_on(change: Tensor, known: Tensor, edit: Tensor, geometry: Tensor) -> Tensor:
    """A change whose light goes on from a face over what is filled above it.

    A small base takes a bare, plain forehead for hair, and darkens it.

    Args:
        change: ``(B, 3, S, S)``, of a reference.
        known: ``(B, 1, S, S)`` in [0, 1].
        edit: likewise, what may change.
        geometry: ``(B, 3, S, S)``, position map of the result's mesh, 0 outside of it.
    """
    side = change.shape[-1]
    near, wide = max(3, side // 20 | 1), max(9, side // 4 | 1)
    mesh = (geometry != 0).any(1, keepdim=True).to(change)
    beyond = box_blur((with_forehead(mesh) - mesh) * (known < _SURE), near)
    face = mesh * edit
    light, cover = (box_blur(box_blur(x, wide), wide) for x in (change * face, face))
    own = box_blur(box_blur(change, near), near)
    return change + (light / cover.clamp_min(1e-3) - own) * beyond


def with_forehead(mesh: Tensor) -> Tensor:
    """A mesh and the forehead above it, where another's fringe or hat leaves skin to be filled.

    Args:
        mesh: ``(B, 1, S, S)``, 1 inside.
    """
    above = round(_FOREHEAD * mesh.shape[-2])
    # The highest of each row and of those below it: upwards only.
    return F.max_pool2d(F.pad(mesh, (0, 0, 0, above)), (above + 1, 1), 1)


def keep_tint(decoded: Tensor, redecoded: Tensor, known: Tensor) -> Tensor:
    """Let what is known keep its tint: of the model's change, brightness stays, colour hardly.

    A small base draws every iris towards the mean of all people's, a greyish blue, and on dev faces
    its changes of tint mend nothing where the reference is known (``docs/training-log.md``).

    Args:
        decoded: ``(B, 3, S, S)`` in [-1, 1], the answer.
        redecoded: ``(B, 3, S, S)``, the reference through the autoencoder.
        known: ``(B, 1, S, S)`` in [0, 1], how far the reference is known and to be trusted.

    Returns:
        ``(B, 3, S, S)``, the answer; equal to ``decoded`` where nothing is known.
    """
    change = decoded - redecoded
    luma = (change * change.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    return decoded - (change - luma) * (_KEPT_TINT * known)


def keep_look(decoded: Tensor, redecoded: Tensor, eyes: Tensor) -> Tensor:
    """Let eyes that an edit turned look where the reference does.

    A small base turns irises back to the middle: on dev faces a gaze network saw .38 of the asked
    angle with its changes and .53 without.

    Args:
        decoded: ``(B, 3, S, S)``, the answer.
        redecoded: ``(B, 3, S, S)``, the reference through the autoencoder.
        eyes: ``(B, 1, S, S)`` in [0, 1], where the turned eyes are known.
    """
    return decoded - (decoded - redecoded) * (_KEPT_LOOK * eyes)


def keep_placed(decoded: Tensor, redecoded: Tensor, edit: Tensor, share: float = 1.0) -> Tensor:
    """Let what the assembler placed or filled stay what it is, in the light that the base sees.

    The base has learned from strangers' photos what light and complexion a face should have in its
    surroundings: of what is very smooth of its change most is taken, as all of it costs likeness.
    What is finer draws everybody a little more like everybody, and paints strands on lent skin,
    beards on chins and specks around turned heads: a fifth of it is taken, hardly any tint, and of
    fine detail what is faint (``docs/training-log.md``).

    Args:
        decoded: ``(B, 3, S, S)``, the answer.
        redecoded: ``(B, 3, S, S)``, the reference through the autoencoder.
        edit: ``(B, 1, S, S)`` in [0, 1], what may change.
        share: of this that is done, 0 to 1.
    """
    change = decoded - redecoded
    size = change.shape[-1]
    cover = as_smooth_as_light(edit)
    broad = as_smooth_as_light(change * edit) / cover.clamp_min(1e-3)
    # How light a face is as a whole, its photo and the target have said (``fors.exposure``): a base
    # that lightens it in the middle would leave it a dark rim.
    level = (change * edit).sum((2, 3), keepdim=True) / edit.sum((2, 3), keepdim=True).clamp_min(1)
    # An eye alone has no light of its own that its surroundings do not have.
    light = (broad - (1 - _KEPT_LEVEL) * level) * (
        _KEPT_LIGHT * ((cover - _LEAST) / _LEAST).clamp(0, 1)
    )
    # Light multiplies: what is darker than all around it, hair, brows, nostrils, takes less, and
    # black stays black.
    shown = redecoded.mean(1, keepdim=True).clamp_min(-1) + 1
    around = as_smooth_as_light(shown * edit) / cover.clamp_min(1e-3)
    light = light * (shown / around.clamp_min(_DARKEST)).clamp(0, _BRIGHTER)
    light = torch.minimum(light, shown)
    near = box_blur(change, max(5, size // 16 | 1))
    fine = change - near
    # Pores are faint; what is strong is a strand or a crease that nobody has there.
    faint = _FAINT * torch.tanh(fine / _FAINT)
    rest = keep_tint((near - broad) * _KEPT_MIDDLE + faint, torch.zeros_like(fine), edit)
    return decoded + share * (light + rest - change)


def as_smooth_as_light(image: Tensor) -> Tensor:
    """What of ``(B, C, S, S)`` is as smooth as light: over an eighth of the picture, twice."""
    width = max(9, image.shape[-1] // 8 | 1)
    return box_blur(box_blur(image, width), width)


_KEPT_LIGHT, _KEPT_MIDDLE, _FAINT, _LEAST = 0.7, 0.2, 0.05, 0.2
_KEPT_LOOK, _KEPT_LEVEL, _SURE = 0.9, 0.5, 0.9
_SAME = 0.02
"""Difference, of 2, between pixels that are the same but for rounding."""
_FOREHEAD = 0.3
"""How far above the mesh a bare head reaches, as a share of the side."""
_DARKEST, _BRIGHTER = 0.1, 1.25
"""Of a mean brightness, 0 to 2, that a pixel's is compared with; and the most that it counts."""
_KEPT_TINT = 0.85


def box_blur(image: Tensor, width: int) -> Tensor:
    """Mean over squares of an odd ``width`` about each pixel, ``(B, C, H, W)`` as given."""
    # Line by line and column by column: the same mean with far fewer sums.
    half = width // 2
    lines = F.avg_pool2d(image, (1, width), 1, (0, half), count_include_pad=False)
    return F.avg_pool2d(lines, (width, 1), 1, (half, 0), count_include_pad=False)


def enlarge(image: Tensor, size: torch.Size) -> Tensor:
    """Resize a change or a mask; shrinking is filtered."""
    if image.shape[-2:] == size:
        return image
    smaller = image.shape[-1] > size[-1]
    mode = "bilinear" if smaller or image.shape[1] == 1 else "bicubic"
    return F.interpolate(image, size=tuple(size), mode=mode, antialias=smaller)
