# SPDX-License-Identifier: Apache-2.0
"""Training: caches, distillation, the generator."""
