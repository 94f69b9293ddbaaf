# SPDX-License-Identifier: Apache-2.0
"""The mini model as ONNX graphs, for programs that have no torch (docs/export.md)."""
