"""Image augmentation on batches of tensors; what a sample becomes depends on seed, epoch and its own index alone.

So it is the same whatever the number of processes, the batch that it came in, and the step that a run resumed from.
Mixup's partners and share follow from the global batch and its step, which are the same at any number of processes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def randoms(seed: int, epoch: int, indices: Tensor, count: int) -> Tensor:
    """Numbers in [0, 1), shape (B, count), float64: of seed, epoch and each sample's index (B,) alone.

    A counter-based generator (SplitMix64 [Steele et al. 2014] of the four numbers): seeding a generator for
    each sample would cost more than the augmentation.
    """
    lanes = torch.arange(count, dtype=torch.int64, device=indices.device)
    state = _mix(torch.full_like(lanes, seed) + 1)
    state = _mix(state ^ _mix(torch.full_like(lanes, epoch) + 2))
    mixed = _mix(state ^ _mix(lanes + 3))[None, :] ^ _mix(indices.to(torch.int64) + 4)[:, None]
    # The upper 53 bits: as many as a float64 holds.
    return _shift(_mix(mixed), 11).double() / 2.0**53


def crop(images: Tensor, padding: int, draws: Tensor) -> Tensor:
    """A window of the images' own size out of each image (B, C, H, W), padded with zeros by ``padding`` pixels.

    ``draws`` (B, 2) of [0, 1) choose row and column among the 2 × padding + 1 that there are.
    """
    batch, channels, height, width = images.shape
    padded = F.pad(images, (padding,) * 4)
    top, left = (draws * (2 * padding + 1)).long().unbind(1)
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = left[:, None] + torch.arange(width, device=images.device)
    b = torch.arange(batch, device=images.device)[:, None, None, None]
    c = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[b, c, rows[:, None, :, None], columns[:, None, None, :]]


def flip(images: Tensor, draws: Tensor, probability: float = 0.5) -> Tensor:
    """Mirrors images (B, C, H, W) left to right where ``draws`` (B,) are below ``probability``."""
    return torch.where((draws < probability)[:, None, None, None], images.flip(3), images)


def cutout(images: Tensor, side: int, draws: Tensor) -> Tensor:
    """Sets a square to 0 whose centre ``draws`` (B, 2) choose (DeVries and Taylor 2017); at the border a part of it."""
    height, width = images.shape[2:]
    inside = []
    for draw, length in ((draws[:, 0], height), (draws[:, 1], width)):
        start = (draw * length).long() - side // 2
        at = torch.arange(length, device=images.device)
        inside.append((at >= start[:, None]) & (at < start[:, None] + side))
    square = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return images.masked_fill(square, 0.0)


def mixup_share(seed: int, epoch: int, step: int, alpha: float) -> float:
    """λ of a step, from Beta(alpha, alpha) (Zhang et al. 2018): one for the whole global batch."""
    return float(np.random.default_rng((seed, epoch, step)).beta(alpha, alpha))


def mixup(images: Tensor, partners: Tensor, share: float) -> Tensor:
    """λ × image + (1 - λ) × its partner, (B, C, H, W) both; ``share`` is λ."""
    return share * images + (1 - share) * partners


def mixup_targets(targets: Tensor, partners: Tensor, classes: int, share: float) -> Tensor:
    """Probabilities (B, C) of mixed samples: λ of its own class (B,), 1 - λ of its partner's (B,)."""
    own, other = F.one_hot(targets, classes), F.one_hot(partners, classes)
    return share * own + (1 - share) * other


def augment(
    images: Tensor,
    indices: Tensor,
    *,
    seed: int,
    epoch: int,
    padding: int = 0,
    flip_probability: float = 0.0,
    cutout_side: int = 0,
) -> Tensor:
    """Crop, then flip, then cutout, of images (B, C, H, W) with these indices (B,); zeros switch each off."""
    if not (padding or flip_probability or cutout_side):
        return images  # without drawing: that takes 3 % of the digits' step
    draws = randoms(seed, epoch, indices.to(images.device), 5)
    if padding:
        images = crop(images, padding, draws[:, :2])
    if flip_probability:
        images = flip(images, draws[:, 2], flip_probability)
    if cutout_side:
        images = cutout(images, cutout_side, draws[:, 3:5])
    return images


def _shift(x: Tensor, by: int) -> Tensor:
    """Logical shift to the right; that of signed integers would bring the sign in."""
    return (x >> by) & ((1 << (64 - by)) - 1)


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's output function, on int64 that wraps around."""
    x = x + _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift(x, 31)


def _signed(x: int) -> int:
    """Of 64 bits, as two's complement."""
    return x - (1 << 64) if x >= 1 << 63 else x
