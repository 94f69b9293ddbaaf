# SPDX-License-Identifier: Apache-2.0
"""The mean of two trainings lies between them, normalisation included."""

from __future__ import annotations

import torch

from facex.ford.parsing import ParsingNet
from facex.train.average import mean_of
from tests.tiny import seeded


def test_a_share_of_the_new_weights_is_taken() -> None:
    networks = []
    for seed in (0, 1):
        with seeded(seed):
            network = ParsingNet(size=64, channels=(32,) * 5, blocks=(0, 0, 0, 0, 0))
            network(torch.rand(2, 3, 64, 64))  # in training: moves the statistics
        networks.append(network)
    first, last = ({k: v.clone() for k, v in n.state_dict().items()} for n in networks)
    mixed = mean_of(*networks, 0.25).state_dict()
    for name, value in mixed.items():
        if value.is_floating_point():
            assert torch.allclose(value, 0.75 * first[name] + 0.25 * last[name], atol=1e-6), name
        else:
            assert torch.equal(value, last[name])
