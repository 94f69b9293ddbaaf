# SPDX-License-Identifier: Apache-2.0
"""What comes from whom: recipes, the task table, and the plan that follows (DESIGN 7)."""
