"""SIGTERM: a flag for the step boundary while training, the end of the process otherwise.

A thread receives it, by the wake-up descriptor: a main thread that waits in a collective for a peer that is gone would never run
a handler.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

EXIT_CODE = 128 + signal.SIGTERM
TORCHRUN_SECONDS = 30.0  # from SIGTERM to SIGKILL, where PET_SHUTDOWN_TIMEOUT says nothing else
MARGIN_SECONDS = 2.0

# How long a process waits for its own SIGTERM after a peer's: agents are told at different moments.
OWN_SIGTERM_SECONDS = 5.0


class PeerLeft(RuntimeError):  # noqa: N818 - not this process's error
    """A peer was told to stop: torchrun forms the group again, from the step that was saved."""


def deadline_seconds() -> float:
    """From SIGTERM to the end of this process, whatever it waits for: before torchrun would kill it."""
    given = float(os.environ.get("PET_SHUTDOWN_TIMEOUT") or TORCHRUN_SECONDS)
    return max(1.0, given - MARGIN_SECONDS)


class Termination:
    """Within ``deferred()`` the first SIGTERM sets ``requested`` and a second one ends the process; otherwise the first does."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._deferred = False

    @property
    def requested(self) -> bool:
        return self._requested.is_set()

    def wait(self, seconds: float) -> bool:
        """Did it come, within this time?"""
        return self._requested.wait(seconds)

    def install(self) -> None:
        """From the main thread."""
        told, tell = socket.socketpair()
        tell.setblocking(False)
        self._kept_open = tell
        threading.Thread(target=self._listen, args=[told], name="sigterm", daemon=True).start()
        signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, _only_wakes)

    @contextmanager
    def deferred(self) -> Generator[None, None, None]:
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
            if self.requested:
                end("terminated by SIGTERM")

    def _listen(self, told: socket.socket) -> None:
        while signal.SIGTERM not in told.recv(64):
            pass
        if not self._deferred:
            end("terminated by SIGTERM: ending without a model")
        self._requested.set()
        told.settimeout(deadline_seconds())
        try:
            while signal.SIGTERM not in told.recv(64):
                pass
        except TimeoutError:
            end("terminated by SIGTERM: the step was not done in time, ending without saving it")
        end("terminated by a second SIGTERM")


def end(words: str) -> NoReturn:
    """Ends the process as SIGTERM would. Not by an exception: an orderly exit would wait for peers that are gone."""
    os.write(1, f"{words}\n".encode())
    os._exit(EXIT_CODE)


def _only_wakes(signum: int, frame: FrameType | None) -> None:
    """Python writes to the wake-up descriptor for signals that have a handler."""
