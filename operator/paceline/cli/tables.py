"""Tables in a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table


def show_whole(table: Table, sentences: Iterable[str]) -> None:
    """With sentences below it. A narrow terminal breaks lines; it cuts no dollars off."""
    console = Console()
    console.width = max(console.width, console.measure(table, options=console.options.update(max_width=10_000)).maximum)
    console.print(table)
    show_sentences(sentences)


def show_sentences(sentences: Iterable[str]) -> None:
    """A line each, however long, for the terminal to break."""
    console = Console()
    for sentence in sentences:
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
