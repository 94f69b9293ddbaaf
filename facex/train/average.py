# SPDX-License-Identifier: Apache-2.0
"""The mean of a network's weights before and after a training (Wortsman et al. 2022, WiSE-FT).

``python -m facex.train.average parsing OLD NEW --share .75 --out DIR``

What a training on better labels forgets of rare classes comes back, and more of what it has learned
stays than is lost.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from facex.models.mini_ford import load_network
from facex.train.bundle import FORD_PARTS


@torch.no_grad()
def mean_of(old: Any, new: Any, share: float) -> Any:
    """A network of the weights of two, ``share`` of them the new one's; counters are the new's."""
    before, after = old.state_dict(), new.state_dict()
    new.load_state_dict(
        {
            name: before[name].lerp(value, share) if value.is_floating_point() else value
            for name, value in after.items()
        }
    )
    return new


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=sorted(FORD_PARTS))
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--out", required=True, type=Path)
    args = parser.parse_args()
    old, new = (load_network(FORD_PARTS[args.network], path) for path in (args.old, args.new))
    mean_of(old, new, args.share).save_pretrained(args.out)


if __name__ == "__main__":
    main()
