"""Traps of the layout."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def test_operator_is_no_package():
    assert not (ROOT / "operator/__init__.py").exists(), "it would shadow Python's own `operator` module"


def test_no_file_has_grown_over_400_lines():
    files = [
        p for folder in ("operator", "trainer_image", "devcluster", "tools") for p in (ROOT / folder).rglob("*.py")
    ]
    assert [str(p) for p in files if len(p.read_text(encoding="utf-8").splitlines()) > 400] == []
