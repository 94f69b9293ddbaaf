# SPDX-License-Identifier: Apache-2.0
"""FORS: representations and a recipe to tokens, reference and masks (DESIGN 4)."""
