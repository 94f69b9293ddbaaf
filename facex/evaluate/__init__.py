# SPDX-License-Identifier: Apache-2.0
"""Measure how good every task is, against baselines (docs/evaluation.md)."""
