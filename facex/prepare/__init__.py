# SPDX-License-Identifier: Apache-2.0
"""Photos to training shards: what goes in (`sources`), one function (`process`), two engines."""
