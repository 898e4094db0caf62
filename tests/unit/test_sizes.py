"""Sizes of an elastic gang."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.plan.sizes import nnodes, sizes


@pytest.mark.parametrize(
    ("nodes", "elastic", "allowed", "free"),
    [
        (4, None, (4,), False),
        (4, {"minNodes": 2, "maxNodes": 6}, (2, 3, 4, 5, 6), True),
        (4, {"minNodes": 2}, (2, 3, 4), True),
        (6, {"minNodes": 2, "maxNodes": 8, "step": 2}, (2, 4, 6, 8), False),
        (4, {"minNodes": 2, "maxNodes": 8, "allowedNodes": [2, 4, 8]}, (2, 4, 8), False),
        (1, {}, (1,), True),
    ],
)
def test_which_sizes_are_allowed(job_of, nodes, elastic, allowed, free):
    found = sizes(job_of(nodes=nodes, **({"elastic": elastic} if elastic is not None else {})).spec)
    assert (found.allowed, found.free) == (allowed, free)


@pytest.mark.parametrize(("room", "size"), [(1, None), (2, 2), (3, 2), (7, 4), (8, 8), (100, 8)])
def test_the_largest_size_that_fits(job_of, room, size):
    spec = job_of(nodes=4, elastic={"minNodes": 2, "maxNodes": 8, "allowedNodes": [2, 4, 8]}).spec
    assert sizes(spec).fit(room) == size


def test_torchrun_may_choose_only_among_sizes_that_are_all_allowed(job_of):
    assert nnodes(job_of(nodes=3).spec, 3) == (3, 3)
    assert nnodes(job_of(nodes=3, elastic={"minNodes": 2, "maxNodes": 5}).spec, 3) == (2, 5)
    assert nnodes(job_of(nodes=4, elastic={"minNodes": 2, "maxNodes": 8, "step": 2}).spec, 4) == (4, 4)


@given(low=st.integers(1, 20), more=st.integers(0, 20), step=st.integers(1, 7), room=st.integers(0, 60))
def test_what_fits_is_allowed_and_the_largest(job_of, low, more, step, room):
    top = low + more
    found = sizes(job_of(nodes=low, elastic={"minNodes": low, "maxNodes": top, "step": step}).spec)
    size = found.fit(room)
    assert all(low <= s <= top and (s - low) % step == 0 for s in found.allowed)
    assert (size is None) == (room < low)
    assert size is None or (
        size in found.allowed and size <= room and not [s for s in found.allowed if size < s <= room]
    )
