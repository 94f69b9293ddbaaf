# SPDX-License-Identifier: Apache-2.0
"""Where the parser's cells lie in the picture: on the pixels that it was trained on."""

from __future__ import annotations

import torch

from facex.ford.parsing import ParsingNet


def test_every_second_pixel_of_the_answer_is_a_cell_and_none_lies_between() -> None:
    torch.manual_seed(0)
    net = ParsingNet(size=64, channels=(20, 32, 32, 32, 32), blocks=(0, 1, 1, 1, 1)).eval()
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        cells, whole = net.features(images)[0], net(images)
    torch.testing.assert_close(whole[..., ::2, ::2], cells)
    torch.testing.assert_close(whole[..., ::2, 1:-1:2], (cells[..., :-1] + cells[..., 1:]) / 2)
