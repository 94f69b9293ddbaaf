# SPDX-License-Identifier: Apache-2.0
"""The mesh: points, triangles, shape, pose, sliders and the warp from mesh to mesh."""
