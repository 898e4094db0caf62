"""Price books as files that change."""

from __future__ import annotations

import asyncio

from paceline.shell import pricebooks

HEAD = "InstanceType,Price,asOf,source\n"


async def test_changes_are_taken_over_and_a_broken_book_leaves_the_one_before(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(pricebooks, "EVERY_SECONDS", 0.01)
    told: asyncio.Queue[pricebooks.Books] = asyncio.Queue()
    book = tmp_path / "default.csv"
    book.write_text(HEAD + "m1,2,2026-11-24,list\n")
    following = asyncio.create_task(pricebooks.follow(tmp_path, told.put_nowait))
    try:
        first = await told.get()
        assert [m.instance_type for m in first["default"]] == ["m1"]
        book.write_text(HEAD + "m1,cheap,2026-11-24,list\n")
        assert (await told.get()) == first
        assert "line 2, Price" in caplog.text
        book.write_text(HEAD + "m2,2,2026-11-24,list\n")
        (tmp_path / "eu.csv").write_text("broken")
        last = await told.get()
        while last["default"][0].instance_type != "m2":
            last = await told.get()
        assert "eu" not in last, "a book that was never read is none"
        book.unlink()
        while "default" in await told.get():
            pass
    finally:
        following.cancel()
