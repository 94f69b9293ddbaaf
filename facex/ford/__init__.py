# SPDX-License-Identifier: Apache-2.0
"""FORD: photo crop to representation, one factor a file (DESIGN 3)."""
