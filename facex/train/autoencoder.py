# SPDX-License-Identifier: Apache-2.0
"""Fit the bundled autoencoder's transform and train its refinement.

``python -m facex.train.autoencoder --cache DIR --index index.csv --teachers DIR --out DIR``
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from facex.models.klt import KLTAutoencoder
from facex.train.arguments import faces_parser
from facex.train.augment import to_float
from facex.train.distill import Batch, LoopConfig, train_loop
from facex.train.facecache import FaceCache
from facex.train.make_cache import Teachers


class AutoencoderTask:
    """Random crops of faces; pixel loss plus a perceptual one."""

    def __init__(self, cache: FaceCache, teachers: Teachers, seed: int, crop: int = 128) -> None:
        self.cache, self.crop = cache, crop
        self.rng = np.random.default_rng(seed)
        rows = cache.rows
        train = cache.select("train")
        # Enlarged small photos would teach the decoder to blur.
        self.train = np.array([i for i in train if float(rows[i]["scale"]) >= 0.9])
        self.dev = cache.select("dev")[::12]
        self.perceptual = teachers.net("lpips_squeeze")

    def model(self) -> KLTAutoencoder:
        """A new autoencoder with its transform fitted to 1,200 training faces."""
        net = KLTAutoencoder()
        chosen = np.sort(self.rng.choice(self.train, 1200, replace=False))
        net.fit(to_float([np.asarray(self.cache.faces[i]) for i in chosen]))
        return net

    def batch(self, size: int) -> Batch:
        """Random crops on the 8 px grid and off it, half of them mirrored."""
        crops = []
        for i in self.rng.choice(self.train, size):
            y, x = self.rng.integers(0, 256 - self.crop + 1, 2)
            view = np.asarray(self.cache.faces[i])[y : y + self.crop, x : x + self.crop]
            crops.append(view[:, ::-1] if self.rng.random() < 0.5 else view)
        return {"images": to_float([np.ascontiguousarray(c) for c in crops])}

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Absolute error plus LPIPS."""
        images = batch["images"]
        with torch.no_grad():
            latents = model.encode(images).latent_dist.mode()  # type: ignore[operator]
        decoded = model.decode(latents).sample  # type: ignore[operator]
        pixel = (decoded - images).abs().mean()
        lpips = self.perceptual(decoded.clamp(-1, 1) / 2 + 0.5, images / 2 + 0.5).mean()
        return pixel + 0.5 * lpips, {"l1": round(pixel.item(), 5), "lpips": round(lpips.item(), 5)}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """PSNR and LPIPS of whole dev faces."""
        psnr, lpips = [], []
        for i in self.dev:
            image = to_float([np.asarray(self.cache.faces[i])])
            latents = model.encode(image).latent_dist.mode()  # type: ignore[operator]
            out = model.decode(latents).sample.clamp(-1, 1)  # type: ignore[operator]
            psnr.append(10 * torch.log10(4 / ((out - image) ** 2).mean()).item())
            lpips.append(self.perceptual(out / 2 + 0.5, image / 2 + 0.5).item())
        return {"psnr": round(float(np.mean(psnr)), 3), "lpips": round(float(np.mean(lpips)), 5)}


def main() -> None:
    """Command line."""
    parser = faces_parser(__doc__)
    parser.add_argument("--teachers", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    args = parser.parse_args()
    torch.manual_seed(0)
    task = AutoencoderTask(FaceCache.open(args.cache, args.index), Teachers(args.teachers), 0)
    model = KLTAutoencoder.from_pretrained(args.start) if args.start else task.model()
    config = LoopConfig(
        minutes=args.minutes, batch_size=args.batch_size, learning_rate=args.learning_rate
    )
    train_loop(model, task.batch, task.loss, args.out, config, task.evaluate)


if __name__ == "__main__":
    main()
