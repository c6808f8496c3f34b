"""The queue of signals against the simplest list that could be right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.domain.ids import SignalId, Symbol
from breakwater.domain.signal_queue import Dropped, DropReason, SignalQueue
from breakwater.domain.signals import DataKind, Direction, Provenance, Signal

NOW = datetime(2025, 10, 10, 20, 0, tzinfo=UTC)
PROVENANCE = Provenance("heuristic:test", DataKind.REPLAY)


def signal(confidence: str = "0.5", age: int = 0, horizon: int = 60) -> Signal:
    time = NOW - timedelta(seconds=age)
    return Signal(
        SignalId(f"{confidence}/{age}"), Symbol("BTCUSDT"), Direction.LONG, Decimal(confidence), time,
        timedelta(seconds=horizon), PROVENANCE,
    )  # fmt: skip


def offered(queue: SignalQueue, one: Signal, now: datetime = NOW) -> list[Dropped]:
    return queue.offer(one, one.expires_at, now)[1]


def test_full_queue_drops_the_lowest_confidence() -> None:
    queue = SignalQueue(2)
    low, high = signal("0.4"), signal("0.8")
    assert offered(queue, low) == offered(queue, high) == []
    (dropped,) = offered(queue, signal("0.6"))
    assert (dropped.signal, dropped.reason) == (low, DropReason.LOWEST_CONFIDENCE)


def test_newcomer_of_the_lowest_confidence_is_the_one_to_go() -> None:
    queue = SignalQueue(1)
    offered(queue, signal("0.8"))
    (dropped,) = offered(queue, signal("0.3"))
    assert dropped.signal == signal("0.3")


def test_of_equal_confidence_the_older_goes_and_the_newer_is_judged_first() -> None:
    queue = SignalQueue(2)
    for age in (5, 20, 10):
        dropped = offered(queue, signal(age=age))
    assert [each.signal for each in dropped] == [signal(age=20)]
    taken, _ = queue.take(NOW)
    assert taken is not None
    assert taken[1] == signal(age=5)


def test_expired_signal_leaves_before_a_valid_one_of_lower_confidence() -> None:
    queue = SignalQueue(2)
    expiring = signal("0.9", horizon=5)
    offered(queue, expiring)
    offered(queue, signal("0.1"))
    (dropped,) = offered(queue, signal("0.5"), NOW + timedelta(seconds=5))
    assert (dropped.signal, dropped.reason) == (expiring, DropReason.EXPIRED)


def test_queue_without_room_for_anything_is_refused() -> None:
    with pytest.raises(ValueError, match="holds none"):
        SignalQueue(0)


class Naive:
    """The same rules on a list that is sorted every time."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.last = 0
        self.waiting: list[tuple[Decimal, datetime, int, Signal, datetime]] = []

    def offer(self, one: Signal, expires_at: datetime, now: datetime) -> list[Dropped]:
        self.last += 1
        self.waiting.append((one.confidence, one.time, self.last, one, expires_at))
        dropped = self.expire(now)
        if len(self.waiting) > self.capacity:
            self.waiting.sort(key=lambda each: each[:3])
            gone = self.waiting.pop(0)
            dropped.append(Dropped(gone[2], gone[3], DropReason.LOWEST_CONFIDENCE))
        return dropped

    def take(self, now: datetime) -> tuple[tuple[int, Signal] | None, list[Dropped]]:
        dropped = self.expire(now)
        if not self.waiting:
            return None, dropped
        self.waiting.sort(key=lambda each: each[:3])
        best = self.waiting.pop()
        return (best[2], best[3]), dropped

    def expire(self, now: datetime) -> list[Dropped]:
        gone = sorted((each for each in self.waiting if each[4] <= now), key=lambda each: (each[4], each[2]))
        self.waiting = [each for each in self.waiting if each[4] > now]
        return [Dropped(each[2], each[3], DropReason.EXPIRED) for each in gone]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.integers(0, 5), st.integers(0, 5), st.integers(1, 30)),
        st.tuples(st.just("take"), st.just(0), st.just(0), st.just(0)),
        st.tuples(st.just("wait"), st.integers(0, 10), st.just(0), st.just(0)),
    ),
    max_size=120,
)


@given(st.integers(1, 6), steps)
def test_queue_does_what_a_sorted_list_would(capacity: int, script: list[tuple[str, int, int, int]]) -> None:
    queue, naive = SignalQueue(capacity), Naive(capacity)
    now = NOW
    for step, first, age, horizon in script:
        if step == "offer":
            one = signal(f"0.{first}", age, horizon)
            assert queue.offer(one, one.expires_at, now)[1] == naive.offer(one, one.expires_at, now)
        elif step == "take":
            assert queue.take(now) == naive.take(now)
        else:
            now += timedelta(seconds=first)
        assert len(queue) == len(naive.waiting)
        assert max(len(queue._worst), len(queue._best), len(queue._expiring)) <= 2 * max(len(queue), 16) + 1
