# SPDX-License-Identifier: Apache-2.0
"""The controller: all that FaceX adds to a base, attached without touching it (DESIGN, section 6).

One FRC block beside every transformer block of the down and up stages (the middle stage has none
in the paper's figure 2), the spatial path and the anchor head. ``attach`` puts hooks on an
unmodified diffusers UNet and ``detach`` takes them away; the UNet's modules, weights and state
dict are never changed, so that any fine-tune of the base can take its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from facex.errors import OptionError
from facex.frc.anchor import AnchorHead, AnchorInit
from facex.frc.base import Base
from facex.frc.block import CachedCrossAttention, FRCBlock, KVCache
from facex.frc.spatial import SpatialEncoder, SpatialFeatures, stage_shapes


@dataclass(frozen=True)
class Steered:
    """What one controlled evaluation of the UNet says.

    Attributes:
        output: (B, C, h, w) of the base's prediction type, float32.
        correction: (B, C, h, w), to be added to the reference's latent.
        confidence: (B, 1, h, w) in [0, 1], kappa before the known mask.
    """

    output: Tensor
    correction: Tensor
    confidence: Tensor


@dataclass
class _Attachment:
    """The bond between a controller and one UNet. No module, so nothing enters a state dict."""

    unet: Any
    handles: list[Any] = field(default_factory=list)
    processors: list[tuple[Any, Any]] = field(default_factory=list)
    hidden: dict[int, Tensor] = field(default_factory=dict)
    entry: Tensor | None = None
    last: Tensor | None = None


def controlled_blocks(unet: Any) -> list[Any]:
    """The transformer blocks of the down stages, then of the up stages, in the UNet's order."""
    stages = [*unet.down_blocks, *unet.up_blocks]
    return [
        module
        for stage in stages
        for module in stage.modules()
        if isinstance(module, BasicTransformerBlock) and module.attn2 is not None
    ]


class FaceXController(ModelMixin, ConfigMixin):
    """FRC blocks, spatial path and anchor head for one shape of base.

    Args:
        block_dims: width of each controlled transformer block, down then up.
        context_dim: width of f_SD.
        entry_channels: channels of the UNet's first and last stage.
        stage_channels: channels of each down stage.
        stage_factors: downscale of each down stage, where its feature is added.
        latent_channels: C of the latents.
        fold: side of the square of latent cells that the UNet sees as one.
        frc_width: inner width of the FRC blocks; None: half of each block's own width.
        head_width: channels per attention head.
        spatial_widths: inner channels of the spatial path, one per stage.
        spatial_blocks: residual blocks per stage of the spatial path.
        anchor_init: where kappa starts, see ``AnchorHead``.
        draw_from_reference: the base's clean latent counts from the reference's (whose unknown
            parts are filled smoothly) instead of from nothing. For bases trained with FaceX; a
            base that came from elsewhere must be left as it is.
    """

    @register_to_config
    def __init__(
        self,
        block_dims: Sequence[int],
        context_dim: int,
        entry_channels: int,
        stage_channels: Sequence[int],
        stage_factors: Sequence[int],
        latent_channels: int = 32,
        fold: int = 2,
        frc_width: int | None = 128,
        head_width: int = 32,
        spatial_widths: Sequence[int] = (128, 128, 128),
        spatial_blocks: int = 1,
        anchor_init: AnchorInit = "known",
        draw_from_reference: bool = False,
    ) -> None:
        super().__init__()
        self.frc = nn.ModuleList()
        for dim in block_dims:
            width = dim // 2 if frc_width is None else frc_width
            self.frc.append(FRCBlock(dim, context_dim, max(1, width // head_width), width))
        stages = list(zip(stage_channels, stage_factors, strict=True))
        self.spatial = SpatialEncoder(
            latent_channels, fold, entry_channels, stages, spatial_widths, spatial_blocks
        )
        self.anchor = AnchorHead(
            entry_channels, spatial_widths[0], latent_channels, fold, anchor_init
        )
        self.cache = KVCache()
        self._attachment: _Attachment | None = None

    @classmethod
    def for_unet(cls, unet: Any, *, latent_channels: int, **options: Any) -> Self:
        """A fresh controller that fits a UNet.

        Args:
            unet: a ``UNet2DConditionModel``.
            latent_channels: C of the autoencoder's latents; the fold follows from it.
            **options: ``frc_width``, ``head_width``, ``spatial_widths``, ``spatial_blocks``,
                ``anchor_init``, ``draw_from_reference``.

        Returns:
            A controller at its initialisation.
        """
        shapes = stage_shapes(unet)
        fold = round((unet.config.in_channels / latent_channels) ** 0.5)
        if latent_channels * fold * fold != unet.config.in_channels:
            raise OptionError(
                f"a UNet of {unet.config.in_channels} channels cannot take latents of "
                f"{latent_channels} channels, folded or not"
            )
        options.setdefault("spatial_widths", [128] * len(shapes))
        # A base that starts unanchored was trained elsewhere and draws from nothing.
        options.setdefault("draw_from_reference", options.get("anchor_init", "known") == "known")
        return cls(
            block_dims=[int(block.attn2.query_dim) for block in controlled_blocks(unet)],
            context_dim=int(unet.config.cross_attention_dim),
            entry_channels=int(unet.conv_in.out_channels),
            stage_channels=[channels for channels, _ in shapes],
            stage_factors=[factor for _, factor in shapes],
            latent_channels=latent_channels,
            fold=fold,
            **options,
        )

    def is_attached(self, unet: Any) -> bool:
        """Whether this controller steers this very UNet."""
        return self._attachment is not None and self._attachment.unet is unet

    def attach(self, unet: Any) -> None:
        """Begins to steer a UNet, by hooks alone.

        Args:
            unet: a ``UNet2DConditionModel`` of the shape that this controller was made for.

        Raises:
            OptionError: another shape, or the controller already steers a UNet.
        """
        if self._attachment is not None:
            raise OptionError("the controller already steers a UNet; detach it first")
        blocks = controlled_blocks(unet)
        self._check(unet, blocks)
        bond = _Attachment(unet)
        for block, frc in zip(blocks, self.frc, strict=True):
            self._hook_block(bond, block, frc)
        for module in unet.modules():
            if isinstance(module, BasicTransformerBlock) and module.attn2 is not None:
                attention = module.attn2
                if CachedCrossAttention.fits(attention):
                    bond.processors.append((attention, attention.processor))
                    attention.processor = CachedCrossAttention(attention.processor, self.cache)

        def add_entry(_module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            return output if bond.entry is None else output + bond.entry.to(output.dtype)

        def keep_last(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            bond.last = args[0]

        bond.handles.append(unet.conv_in.register_forward_hook(add_entry))
        bond.handles.append(unet.conv_out.register_forward_pre_hook(keep_last))
        self._attachment = bond

    def detach(self) -> None:
        """Ends the steering: hooks gone, the UNet's own attention processors back. Repeatable."""
        bond, self._attachment = self._attachment, None
        if bond is None:
            return
        for handle in bond.handles:
            handle.remove()
        for attention, processor in bond.processors:
            attention.processor = processor

    @contextmanager
    def attached(self, unet: Any) -> Iterator[None]:
        """Steers a UNet inside a ``with`` block; does nothing if it is steered already."""
        if self.is_attached(unet):
            yield
            return
        self.attach(unet)
        try:
            yield
        finally:
            self.detach()

    def forward(
        self, base: Base, latents: Tensor, t: Tensor, context: Tensor, features: SpatialFeatures
    ) -> Steered:
        """One controlled evaluation of the base; the controller must be attached to its UNet.

        Args:
            base: the base model.
            latents: (B, C, h, w) at the variance that the UNet was trained with.
            t: timesteps, () or (B,).
            context: f_SD, (B, N, context_dim).
            features: from ``spatial``, of the same batch.

        Returns:
            The base's prediction, the correction of the reference and its confidence.

        Raises:
            OptionError: the controller is not attached to this base.
        """
        bond = self._attachment
        if bond is None or bond.unet is not base.unet:
            raise OptionError("the controller is not attached to this base")
        bond.entry = features.entry
        try:
            output = base.predict(
                latents,
                t,
                context,
                # a list, because diffusers takes the features out of it one by one
                down_intrablock_additional_residuals=list(features.stages),
            )
            assert bond.last is not None  # the UNet has run
            correction, confidence = self.anchor(bond.last, features.trunk)
        finally:
            bond.entry = bond.last = None
        return Steered(output, correction, confidence)

    def _check(self, unet: Any, blocks: Sequence[Any]) -> None:
        found = [int(block.attn2.query_dim) for block in blocks]
        if (
            found != list(self.config.block_dims)
            or unet.config.cross_attention_dim != self.config.context_dim
            or unet.config.in_channels != self.config.latent_channels * self.config.fold**2
        ):
            raise OptionError(
                f"the controller was made for transformer blocks of widths "
                f"{list(self.config.block_dims)} with {self.config.context_dim}-wide context; "
                f"this base has {found} with {unet.config.cross_attention_dim}"
            )

    def _hook_block(self, bond: _Attachment, block: Any, frc: nn.Module) -> None:
        """Puts an FRC block behind the base's cross-attention.

        diffusers adds the cross-attention's output to the hidden state and goes on to the
        feed-forward. So the hidden state is noted where it enters the norm before the
        cross-attention, and FRC's residual rides on the cross-attention's output. Both hooks run
        within one call of the block, which keeps gradient checkpointing exact.
        """
        key = id(block)

        def note_hidden(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            bond.hidden[key] = args[0]

        def add_residual(
            _module: nn.Module, _args: Any, kwargs: dict[str, Any], output: Tensor
        ) -> Tensor:
            hidden = bond.hidden.pop(key) + output
            context = kwargs["encoder_hidden_states"]
            keys_values = self.cache.get(frc, context, frc.keys_values)  # type: ignore[arg-type]
            return output + frc(hidden, keys_values).to(output.dtype)

        bond.handles.append(block.norm2.register_forward_pre_hook(note_hidden))
        bond.handles.append(block.attn2.register_forward_hook(add_residual, with_kwargs=True))
