"""Objects that were there at the start are not searched by the collector again; later garbage is collected as ever."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from breakwater.runtime.pauses import spare_what_is_there


class Node:
    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def unfrozen() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_what_is_there_is_not_searched_any_more() -> None:
    there = Node()
    assert any(known is there for known in gc.get_objects())
    spare_what_is_there()
    assert not any(known is there for known in gc.get_objects())
    assert gc.get_freeze_count() > 1000


def test_garbage_of_before_is_gone_and_that_of_later_is_still_collected() -> None:
    before = weakref.ref(Node())
    spare_what_is_there()
    assert before() is None
    later = weakref.ref(Node())
    gc.collect()
    assert later() is None
