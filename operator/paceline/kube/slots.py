"""How many requests are on their way at once: as many as the API server takes."""

from __future__ import annotations

import asyncio

# What a served request adds to the width, as a share of it: ten times the width of them, and one more may go at once.
GROWTH = 0.1


class Slots:
    """``most`` requests at once, and fewer after a refusal (429): half of those on their way, then slowly more again.

    So TCP finds how much a network takes (additive increase, multiplicative decrease; RFC 5681). Whoever waits, waits in
    order. ``async with slots as when`` is one request; ``when`` is for ``refused``.
    """

    def __init__(self, most: int) -> None:
        self._most, self._width = most, float(most)
        # Those that are open are out, or wait in the semaphore for somebody; the width says how many there should be.
        self._open, self._out, self._free = most, 0, asyncio.Semaphore(most)
        self._cuts = 0

    async def __aenter__(self) -> int:
        await self._free.acquire()
        self._out += 1
        return self._cuts

    async def __aexit__(self, *_: object) -> None:
        self._out -= 1
        if self._open > self._width:
            self._open -= 1
        else:
            self._free.release()

    def served(self) -> None:
        self._width = min(self._most, self._width + GROWTH / self._width)
        while self._open + 1 <= self._width:
            self._open += 1
            self._free.release()

    def refused(self, when: int) -> None:
        """Of those that were on their way together, the first refusal counts: the others say the same."""
        if when == self._cuts:
            self._cuts += 1
            self._width = max(1.0, min(self._width, self._out) / 2)
