# SPDX-License-Identifier: Apache-2.0
"""Which weights: folders, registry, conversion."""
