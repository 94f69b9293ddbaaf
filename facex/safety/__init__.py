# SPDX-License-Identifier: Apache-2.0
"""Saying what was done: the invisible mark, the metadata, signed credentials, and reading them."""
