# SPDX-License-Identifier: Apache-2.0
"""FaceX as ComfyUI nodes; put this folder (or a link to it) into ``ComfyUI/custom_nodes``."""

from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
