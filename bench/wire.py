"""The way to the API server, which can be long or cut: bytes are passed on as they are, TLS and all."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
from pathlib import Path
from urllib.parse import urlsplit

import yaml

CHUNK = 2**16


class Wire:
    """A port of this machine that leads to the API server of $KUBECONFIG, while the context lasts."""

    def __init__(self) -> None:
        self._document = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text(encoding="utf-8"))
        self._target = urlsplit(self._document["clusters"][0]["cluster"]["server"])
        # Seconds that every request takes longer.
        self.delay = 0.0
        self._open = asyncio.Event()
        self._open.set()
        self._pumps = set[asyncio.Task[None]]()

    def kubeconfig(self, folder: Path, token: str = "") -> Path:
        """A file there that leads through the wire; the user is that of the token, else the same as without the wire."""
        server = f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        document = copy.deepcopy(self._document)
        document["clusters"][0]["cluster"]["server"] = server
        if token:
            document["users"][0]["user"] = {"token": token}
        path = folder / "kubeconfig"
        path.touch(0o600)
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return path

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def cut(self) -> None:
        """Nothing arrives any more, and nobody is told. What is sent meanwhile arrives after mend(), as TCP would have it."""
        self._open.clear()

    def mend(self) -> None:
        self._open.set()

    async def _connected(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        try:
            far, to = await asyncio.open_connection(self._target.hostname, self._target.port)
        except OSError:  # the API server is not there: neither are we
            back.close()
            return
        for source, sink, late in ((near, to, True), (far, back, False)):
            pump = asyncio.create_task(self._pump(source, sink, late))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, late: bool) -> None:
        """``late``: the way there, which takes the delay, so that an answer takes it once."""
        with contextlib.suppress(ConnectionError):
            while data := await source.read(CHUNK):
                if late and self.delay:
                    await asyncio.sleep(self.delay)
                await self._open.wait()
                sink.write(data)
                await sink.drain()
        sink.close()
