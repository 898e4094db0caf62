"""The price books, as files NAME.csv in a folder: a ConfigMap of the chart, which the kubelet keeps up to date."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from paceline.cost.prices import Machine, PriceBookError, parse

log = logging.getLogger(__name__)

EVERY_SECONDS = 10.0
Books = dict[str, list[Machine]]


async def follow(folder: Path, use: Callable[[Books], None]) -> None:
    """Calls ``use`` with all books, at once and after every change, until cancelled. A book that cannot be read is told in the
    log, and its former version stays in force."""
    texts: dict[str, str] = {}
    books: Books = {}
    while True:
        found = await asyncio.to_thread(_read, folder)
        if found != texts:
            books = {name: _book(name, text, texts.get(name), books.get(name)) for name, text in found.items()}
            texts = found
            use({name: book for name, book in books.items() if book})
        await asyncio.sleep(EVERY_SECONDS)


def _read(folder: Path) -> dict[str, str]:
    try:
        return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.csv"))}
    except (OSError, UnicodeDecodeError) as error:
        log.warning("price books not read: %s", error)
        return {}


def _book(name: str, text: str, before: str | None, former: list[Machine] | None) -> list[Machine]:
    if text == before:
        return former or []
    try:
        book = parse(text)
    except PriceBookError as error:
        log.error("price book %s is not used: %s", name, error)
        return former or []
    log.info("price book read", extra={"book": name, "machines": len(book)})
    return book
