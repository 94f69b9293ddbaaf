# SPDX-License-Identifier: Apache-2.0
"""Personalised bases: classical filters, and the trainer that teaches a base to draw like one."""
