"""The chart's README: every value, with the comment above it."""

from __future__ import annotations

import pytest

from tools.chart_readme import Value, values

TEXT = """
# A section.
image:
  # Its name,
  # and where it lies.
  repository: r.example/x
  tag: ""
  nested:
    # Deep.
    flag: true

# A list | with a bar.
peers: []
# On one line: {a: 1}
map: {a: 1}
"""


def test_every_value_with_default_and_comment():
    assert list(values(TEXT)) == [
        Value("image", "", "A section."),
        Value("image.repository", '"r.example/x"', "Its name, and where it lies."),
        Value("image.tag", '""', ""),
        Value("image.nested.flag", "true", "Deep."),
        Value("peers", "[]", "A list | with a bar."),
        Value("map", '{"a": 1}', "On one line: {a: 1}"),
    ]


def test_a_value_that_nobody_explains_is_refused_by_name():
    with pytest.raises(ValueError, match=r"line 4: a\.c has no comment above it"):
        list(values("a:\n  # Said.\n  b: 1\n  c: 2\n"))
