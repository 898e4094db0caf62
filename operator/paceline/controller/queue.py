"""A work queue of keys with client-go's semantics: no key is worked on twice at once, events in between coalesce. In two lines:
what has begun goes before what has not."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable

BACKOFF_BASE_SECONDS = 0.2
BACKOFF_MAX_SECONDS = 60.0
# Of the last line at once: enough to fill the client's connections with what eight gangs of eight are made of. With more, a
# request for a lost worker would wait behind all of theirs (ADR 13).
LAST_AT_ONCE = 8


class Queue:
    def __init__(self, clock: Callable[[], float], on_add: Callable[[], None] = lambda: None) -> None:
        """``clock`` is monotonic, in seconds; ``on_add`` is called for every key that was not there yet."""
        self._clock, self._on_add = clock, on_add
        # A key that has come up from the last line is in both; what is taken from there, it is not taken from here.
        self._ready: deque[str] = deque()
        self._last: deque[str] = deque()
        self._stands_last: set[str] = set()
        self._last_in_flight: set[str] = set()
        # When each waiting key was added (for the latency metric); a key is here or in flight, or both when it came again.
        self._dirty: dict[str, float] = {}
        self._in_flight: dict[str, float] = {}
        self._later: list[tuple[float, int, str]] = []
        self._later_at: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._order = itertools.count()
        # Who waits in take(), in order: each key wakes one of them, not all (ADR 13).
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: tuple[float, asyncio.Handle] | None = None

    def __len__(self) -> int:
        return len(self._dirty.keys() - self._in_flight.keys())

    def add(self, key: str, *, last: bool = False) -> None:
        """``last``: it can wait until there is nothing else to do. A key that is there may come up, and never goes down."""
        if key not in self._dirty:
            self._dirty[key] = self._clock()
            self._on_add()
        elif last or key not in self._stands_last:
            return
        if last:
            self._stands_last.add(key)
        else:
            self._stands_last.discard(key)
        if key not in self._in_flight:
            self._line_up(key)

    def add_after(self, key: str, seconds: float) -> None:
        """Add later. One delayed entry a key: an earlier time replaces a later one."""
        when = self._clock() + max(seconds, 0.0)
        if self._later_at.get(key, float("inf")) <= when:
            return
        self._later_at[key] = when
        heapq.heappush(self._later, (when, next(self._order), key))
        if self._waiting:
            self._wake_in(when - self._clock())

    def retry(self, key: str) -> float:
        """Add again after this key's own exponential back-off; returns its seconds."""
        count = self._failures[key] = self._failures.get(key, 0) + 1
        delay = min(BACKOFF_BASE_SECONDS * 2 ** (count - 1), BACKOFF_MAX_SECONDS)
        self.add_after(key, delay)
        return float(delay)

    def forget(self, key: str) -> None:
        """The key's work went well: its back-off starts anew."""
        self._failures.pop(key, None)

    async def take(self) -> tuple[str, float]:
        """The next key, and the seconds that it waited. Call done() when its work has ended."""
        while True:
            wait = self._promote()
            while line := self._ready or (self._last if len(self._last_in_flight) < LAST_AT_ONCE else None):
                key = line.popleft()
                if key in self._in_flight or key not in self._dirty:
                    continue  # taken already, from the other line
                waited = self._clock() - self._dirty.pop(key)
                self._stands_last.discard(key)
                if line is self._last:
                    self._last_in_flight.add(key)
                self._in_flight[key] = self._clock()
                return key, waited
            if wait is not None:
                self._wake_in(wait)
            woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(woken)
            try:
                await woken
            except asyncio.CancelledError:
                if woken.done() and not woken.cancelled():
                    self._wake_one()  # it was woken for a key that another must take now
                raise

    def done(self, key: str) -> None:
        del self._in_flight[key]
        if key in self._last_in_flight:
            self._last_in_flight.discard(key)
            if self._last:
                self._wake_one()
        if key in self._dirty:  # it came again in the meantime
            self._line_up(key)

    def longest_in_flight(self) -> float:
        """Seconds that the oldest work in progress has taken: for liveness."""
        return max((self._clock() - since for since in self._in_flight.values()), default=0.0)

    def _line_up(self, key: str) -> None:
        (self._last if key in self._stands_last else self._ready).append(key)
        self._wake_one()

    def _wake_one(self) -> None:
        while self._waiting:
            woken = self._waiting.popleft()
            if not woken.done():
                woken.set_result(None)
                return

    def _wake_in(self, seconds: float) -> None:
        """One timer for all delayed keys: the earliest."""
        loop = asyncio.get_running_loop()
        when = loop.time() + max(seconds, 0.0)
        if self._timer is not None:
            due, handle = self._timer
            if due <= when:
                return
            handle.cancel()
        # uvloop's handle of what is due at once does not know when.
        self._timer = when, loop.call_at(when, self._time)

    def _time(self) -> None:
        self._timer = None
        if (wait := self._promote()) is not None and self._waiting:
            self._wake_in(wait)

    def _promote(self) -> float | None:
        """Move what is due to the ready keys; seconds to the next, None if there is none."""
        now = self._clock()
        while self._later:
            when, _, key = self._later[0]
            if self._later_at.get(key) != when:  # replaced by an earlier time
                heapq.heappop(self._later)
                continue
            if when > now:
                return when - now
            heapq.heappop(self._later)
            del self._later_at[key]
            self.add(key)
        return None
