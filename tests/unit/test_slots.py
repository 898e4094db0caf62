"""The width of a client, with a server that has so many seats and refuses whoever finds none."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.kube.slots import Slots

MOST = 32


class Server:
    def __init__(self, seats: int) -> None:
        self.seats = seats
        self.taken = self.most = self.served = self.refused = 0

    async def ask(self, slots: Slots) -> None:
        while True:
            async with slots as when:
                self.most = max(self.most, self.taken + 1)
                if self.taken < self.seats:
                    self.taken += 1
                    await asyncio.sleep(0)
                    self.taken -= 1
                    self.served += 1
                    slots.served()
                    return
                self.refused += 1
                slots.refused(when)
            await asyncio.sleep(0)


async def burst(slots: Slots, server: Server, requests: int) -> None:
    await asyncio.wait_for(asyncio.gather(*(server.ask(slots) for _ in range(requests))), timeout=60)


def test_all_of_them_where_nobody_refuses():
    server = Server(seats=1000)
    asyncio.run(burst(Slots(MOST), server, 500))
    assert (server.served, server.refused, server.most) == (500, 0, MOST)


@pytest.mark.parametrize("seats", [1, 2, 3, 8])
def test_where_there_are_few_seats_few_are_refused(seats):
    server = Server(seats)
    asyncio.run(burst(Slots(MOST), server, 1000))
    assert server.served == 1000
    # The first round finds out; then one in ten and fewer, instead of all that find no seat.
    assert server.refused < MOST + 1000 / 8


def test_when_there_are_seats_again_they_are_taken():
    async def run() -> tuple[int, int]:
        slots, few, many = Slots(MOST), Server(seats=2), Server(seats=1000)
        await burst(slots, few, 200)
        await burst(slots, many, 200)
        early = many.most
        await burst(slots, many, 10 * MOST * MOST)
        return early, many.most

    early, late = asyncio.run(run())
    assert early < MOST / 2
    assert late == MOST


@settings(max_examples=60, deadline=None)
@given(seats=st.lists(st.integers(1, 40), min_size=1, max_size=6), requests=st.integers(1, 120))
def test_nobody_waits_for_ever_and_never_more_than_most(seats, requests):
    async def run() -> list[Server]:
        slots, servers = Slots(MOST), [Server(n) for n in seats]
        for server in servers:
            await burst(slots, server, requests)
        return servers

    for server in asyncio.run(run()):
        assert server.served == requests
        assert server.most <= MOST


def test_one_whose_task_is_cancelled_gives_its_place_back():
    async def run() -> int:
        slots, server = Slots(2), Server(seats=2)

        async def hang() -> None:
            async with slots:
                await asyncio.sleep(60)

        tasks = [asyncio.create_task(hang()) for _ in range(4)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await burst(slots, server, 10)
        return server.served

    assert asyncio.run(run()) == 10
