# SPDX-License-Identifier: Apache-2.0
"""``python -m facex``: the command line where its script is not on the path."""

import sys

from facex.cli.main import run

sys.exit(run())
