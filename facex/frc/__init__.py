# SPDX-License-Identifier: Apache-2.0
"""FRC: controlled sampling of a frozen diffusion base (DESIGN 6)."""
