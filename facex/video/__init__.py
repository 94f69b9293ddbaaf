# SPDX-License-Identifier: Apache-2.0
"""Edits of moving pictures: read, track faces, smooth them in time, edit every frame, write."""
