# SPDX-License-Identifier: Apache-2.0
"""Photos and crops: the only place that knows files and colour."""
