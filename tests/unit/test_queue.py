"""The work queue: client-go's semantics."""

from __future__ import annotations

import asyncio
import time

import uvloop
from hypothesis import given
from hypothesis import strategies as st

from paceline.controller.queue import BACKOFF_MAX_SECONDS, LAST_AT_ONCE, Queue


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def take(queue):
    return (await asyncio.wait_for(queue.take(), 2))[0]


async def test_events_in_between_coalesce():
    queue = Queue(Clock())
    for key in ("a", "b", "a", "a"):
        queue.add(key)
    assert [await take(queue), await take(queue)] == ["a", "b"]
    assert len(queue) == 0


async def test_a_key_in_flight_is_not_given_out_twice_but_comes_again():
    queue = Queue(Clock())
    queue.add("a")
    assert await take(queue) == "a"
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert await take(queue) == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_later_comes_later_and_the_earlier_time_wins():
    clock = Clock()
    queue = Queue(clock)
    queue.add_after("a", 10)
    queue.add_after("a", 5)
    queue.add_after("a", 20)
    clock.now += 5
    assert await take(queue) == "a"
    queue.done("a")
    clock.now += 100
    queue.add("b")
    assert await take(queue) == "b", "the later times of a were replaced"
    assert len(queue) == 0


async def test_a_sleeper_is_woken_by_a_new_key():
    queue = Queue(Clock())
    queue.add_after("later", 3600)
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.add("now")
    assert (await asyncio.wait_for(waiting, 2))[0] == "now"


async def test_retries_back_off_a_key_of_its_own_and_are_forgotten_on_success():
    queue = Queue(Clock())
    delays = [queue.retry("a") for _ in range(12)]
    assert delays[:4] == [0.2, 0.4, 0.8, 1.6]
    assert delays[-1] == BACKOFF_MAX_SECONDS
    assert queue.retry("b") == 0.2
    queue.forget("a")
    assert queue.retry("a") == 0.2


async def test_the_oldest_work_is_known():
    clock = Clock()
    queue = Queue(clock)
    assert queue.longest_in_flight() == 0
    queue.add("a")
    await take(queue)
    clock.now += 7
    assert queue.longest_in_flight() == 7


async def test_what_stands_last_is_taken_when_there_is_nothing_else_and_may_come_up():
    queue = Queue(Clock())
    for key in ("new-1", "new-2", "new-3"):
        queue.add(key, last=True)
    queue.add("old")
    queue.add("new-3")
    queue.add("old", last=True)
    assert len(queue) == 4
    taken = [await take(queue) for _ in range(4)]
    assert taken == ["old", "new-3", "new-1", "new-2"]
    for key in taken:
        queue.done(key)
    assert len(queue) == 0
    queue.add("new-3", last=True)
    queue.add("new-1", last=True)
    assert [await take(queue), await take(queue)] == ["new-3", "new-1"], "each once"


async def test_what_comes_again_while_it_is_worked_on_keeps_its_line():
    queue = Queue(Clock())
    queue.add("a")
    await take(queue)
    queue.add("a", last=True)
    queue.done("a")
    queue.add("b")
    assert [await take(queue), await take(queue)] == ["b", "a"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["add", "last", "take", "done"])), max_size=40))
def test_every_key_that_is_added_is_taken_and_none_twice_at_once(steps):
    async def run() -> None:
        queue, owed, held = Queue(Clock()), set(), []
        for key, step in steps:
            if step in ("add", "last"):
                queue.add(key, last=step == "last")
                owed.add(key)
            elif step == "take" and owed - set(held):
                taken = await take(queue)
                assert taken in owed
                assert taken not in held
                owed.discard(taken)
                held.append(taken)
            elif step == "done" and held:
                queue.done(held.pop(0))
            assert len(queue) == len(owed - set(held))
        while held or owed:
            while held:
                queue.done(held.pop())
            if owed:
                held.append(await take(queue))
                owed.discard(held[0])

    asyncio.run(run())


async def test_a_key_wakes_one_of_those_who_wait_and_all_keys_are_taken():
    queue, taken = Queue(time.monotonic), list[str]()

    async def worker() -> None:
        while True:
            key, _ = await queue.take()
            taken.append(key)
            await asyncio.sleep(0)
            queue.done(key)

    workers = [asyncio.create_task(worker()) for _ in range(8)]
    await asyncio.sleep(0)
    assert len(queue._waiting) == 8
    queue.add("a")
    assert len(queue._waiting) == 7, "one is woken"
    queue.add_after("later", 0.02)
    queue.add_after("sooner", 0.01)
    for n in range(20):
        queue.add(f"k-{n}")
    async with asyncio.timeout(5):
        while len(taken) < 23:
            await asyncio.sleep(0.005)
    assert taken[-2:] == ["sooner", "later"]
    assert len(queue) == 0
    for task in workers:
        task.cancel()


def test_what_is_due_at_once_and_what_comes_before_it_are_taken_on_the_operators_loop():
    async def both() -> list[str]:
        queue = Queue(time.monotonic)
        taken = asyncio.gather(take(queue), take(queue))
        await asyncio.sleep(0.05)  # both wait
        queue.add_after("now", 0)
        queue.add_after("before", -1)
        return await taken

    assert sorted(uvloop.run(both())) == ["before", "now"]


async def test_a_waiter_that_is_cancelled_when_it_was_just_woken_leaves_the_key_to_another():
    queue = Queue(Clock())
    first, second = (asyncio.create_task(queue.take()) for _ in range(2))
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert (await asyncio.wait_for(second, 2))[0] == "a"


async def test_of_the_last_line_only_so_many_are_worked_on_at_once():
    queue = Queue(Clock())
    for n in range(LAST_AT_ONCE + 2):
        queue.add(f"new-{n}", last=True)
    held = [await take(queue) for _ in range(LAST_AT_ONCE)]
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.add("old")
    assert (await asyncio.wait_for(waiting, 2))[0] == "old"
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.done(held.pop())
    assert (await asyncio.wait_for(waiting, 2))[0] == f"new-{LAST_AT_ONCE}"
