# SPDX-License-Identifier: Apache-2.0
"""Measure FORD: how well a face is taken apart, and what disturbs it (docs/evaluation.md)."""
