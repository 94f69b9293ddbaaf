# SPDX-License-Identifier: Apache-2.0
"""Training at the paper's scale: Stable Diffusion 1.5 frozen, FORS, FRC and phi^Reg trained."""
