"""Augmentation: each transform against its closed form, and the same for a sample whatever the batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, pad

from paceline_trainer.augment_images import (
    augment,
    crop,
    cutout,
    flip,
    mixup,
    mixup_share,
    mixup_targets,
    randoms,
)
from paceline_trainer.data import shard


def numbered(batch: int, channels: int = 2, side: int = 6) -> torch.Tensor:
    """Images whose every pixel is a different number, none of them 0."""
    return torch.arange(1, batch * channels * side * side + 1).float().reshape(batch, channels, side, side)


def test_random_numbers_are_of_seed_epoch_and_index_alone():
    indices = torch.tensor([5, 0, 9000])
    draws = randoms(3, 1, indices, 4)
    assert torch.equal(draws[1:2], randoms(3, 1, torch.tensor([0]), 4))
    for other in (randoms(4, 1, indices, 4), randoms(3, 2, indices, 4), randoms(3, 1, indices + 1, 4)):
        assert not torch.isclose(draws, other).any()


def test_random_numbers_are_uniform_and_independent():
    draws = randoms(0, 0, torch.arange(20_000), 5)
    assert draws.min() >= 0
    assert draws.max() < 1
    counts = torch.stack([torch.histc(lane.float(), 20, 0, 1) for lane in draws.T])
    # χ² with 19 degrees of freedom stays below 50 with probability 0.9999 for each lane.
    assert (((counts - 1000) ** 2 / 1000).sum(1) < 50).all()
    neighbours = torch.cat([draws[:-1], draws[1:], randoms(0, 1, torch.arange(19_999), 5)], 1)
    correlations = torch.corrcoef(neighbours.T) - torch.eye(15)
    assert correlations.abs().max() < 0.035  # 5 standard deviations of 1/√20000


@given(row=st.integers(0, 4), column=st.integers(0, 4))
def test_a_crop_is_a_window_of_the_padded_image(row, column):
    images = numbered(2)
    draws = torch.tensor([[(row + 0.5) / 5, (column + 0.5) / 5], [0.5, 0.5]])
    found = crop(images, 2, draws)
    padded = pad(images, (2, 2, 2, 2))
    assert torch.equal(found[0], padded[0, :, row : row + 6, column : column + 6])
    assert torch.equal(found[1], images[1])


def test_a_flip_is_left_to_right_where_drawn():
    images = numbered(3)
    found = flip(images, torch.tensor([0.1, 0.5, 0.9]), 0.5)
    assert torch.equal(found[0], images[0].flip(-1))
    assert torch.equal(found[1:], images[1:])


@pytest.mark.parametrize(
    ("draw", "rows", "columns"),
    [((0.5, 0.5), (2, 4), (2, 4)), ((0.0, 0.99), (0, 1), (4, 6)), ((0.0, 0.5), (0, 1), (2, 4))],
)
def test_cutout_is_one_square_and_a_part_of_it_at_the_border(draw, rows, columns):
    images = numbered(1)
    expected = images.clone()
    expected[:, :, slice(*rows), slice(*columns)] = 0
    assert torch.equal(cutout(images, 2, torch.tensor([draw])), expected)


def test_mixup_is_linear_and_its_loss_that_of_the_mixed_label():
    images, share = numbered(4), mixup_share(0, 0, 7, 0.4)
    order = torch.arange(4).roll(1)
    mixed = mixup(images, images[order], share)
    assert torch.equal(mixed[1], share * images[1] + (1 - share) * images[0])
    outputs, targets = torch.randn(4, 3), torch.tensor([0, 1, 2, 1])
    soft = mixup_targets(targets, targets[order], 3, share)
    torch.testing.assert_close(soft[1], torch.tensor([1 - share, share, 0.0]))
    own, other = (cross_entropy(outputs, some, reduction="none") for some in (targets, targets[order]))
    torch.testing.assert_close(cross_entropy(outputs, soft, reduction="none"), share * own + (1 - share) * other)


def test_mixup_shares_have_the_mean_and_variance_of_their_beta():
    shares = torch.tensor([mixup_share(1, 0, step, 0.4) for step in range(4000)])
    assert shares.mean().item() == pytest.approx(0.5, abs=0.03)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * 0.4 + 1)), abs=0.01)
    assert mixup_share(1, 0, 3, 0.4) == mixup_share(1, 0, 3, 0.4) != mixup_share(1, 1, 3, 0.4)


@given(size=st.integers(1, 5), count=st.integers(1, 23), epoch=st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_a_sample_becomes_the_same_at_any_number_of_processes(size, count, epoch):
    images, batch = numbered(40, 1), torch.randperm(40)[:count]

    def changed(indices: torch.Tensor) -> torch.Tensor:
        options = {"seed": 3, "epoch": epoch, "padding": 2, "flip_probability": 0.5, "cutout_side": 3}
        return augment(images[indices], indices, **options)

    whole, other = changed(batch), batch.roll(1)
    for rank in range(size):
        mine = shard(batch, rank, size)
        assert torch.equal(changed(mine), shard(whole, rank, size))
        mixed = mixup(images[mine], images[shard(other, rank, size)], 0.3)
        assert torch.equal(mixed, shard(mixup(images[batch], images[other], 0.3), rank, size))


def test_augmentation_changes_most_images_and_switches_off():
    images = numbered(50)
    indices = torch.arange(50)
    assert torch.equal(augment(images, indices, seed=0, epoch=0), images)
    for option in ({"padding": 2}, {"flip_probability": 0.5}, {"cutout_side": 2}):
        found = augment(images, indices, seed=0, epoch=0, **option)
        assert (found != images).flatten(1).any(1).sum() > 15, option
