"""The cache: the watch and our own writes' answers, in whatever order they come, end in the same state."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from paceline.kube.reflector import Store


@dataclass(frozen=True)
class Thing:
    resource_version: int
    value: str = ""


def test_an_older_event_never_overwrites_a_newer_record():
    told = []
    store = Store(lambda before, after: told.append((before, after)))
    store.put_own("a", Thing(5, "ours"))
    store.put("a", Thing(4, "stale"))
    assert store.get("a") == Thing(5, "ours")
    assert told == [(None, Thing(5, "ours"))]


def test_the_answer_to_a_create_does_not_raise_what_the_watch_has_seen_die():
    store = Store(lambda before, after: None)
    store.put("a", Thing(5))
    store.watched = 7
    store.remove("a")
    store.put_own("a", Thing(5))
    assert store.get("a") is None


def test_an_event_that_changes_nothing_that_is_kept_is_not_told():
    told = []
    store = Store(lambda before, after: told.append(after))
    store.put("a", Thing(1, "x"))
    store.put("a", Thing(2, "x"))
    assert told == [Thing(1, "x")]
    assert store.get("a") == Thing(2, "x")


def test_a_list_removes_what_it_does_not_have_but_not_what_is_newer():
    store = Store(lambda before, after: None)
    store.put("old", Thing(1))
    store.put_own("new", Thing(20))
    store.replace({"listed": Thing(9)}, listed_at=10)
    assert sorted(t.resource_version for t in store.values()) == [9, 20]


@given(order=st.permutations(range(5)))
def test_any_order_of_answers_and_events_ends_in_the_newest(order):
    store = Store(lambda before, after: None)
    for version in order:
        store.put_own("a", Thing(version + 1, str(version)))
    assert store.get("a") == Thing(5, "4")
