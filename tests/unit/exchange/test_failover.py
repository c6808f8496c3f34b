"""When another address of the venue is taken, and when not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from breakwater.exchange.endpoints import Endpoint
from breakwater.exchange.failover import HOME_AFTER_S, SHORTEST_STAY_S, UNKNOWN_IN_A_ROW, Failover

HOME = Endpoint("https://one", "wss://one")
OTHER = Endpoint("https://two", "wss://two-streams")
URL = "https://one/fapi/v1/order"


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def utc_now(self) -> datetime:
        return datetime(2025, 10, 10, tzinfo=UTC)

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


def made(*endpoints: Endpoint) -> tuple[Failover, Clock]:
    clock = Clock()
    return Failover(endpoints or (HOME, OTHER), clock), clock


def test_address_that_cannot_be_reached_is_left_at_once() -> None:
    failover, _ = made()
    assert failover.lost(URL, connected=False)
    assert (failover.present, failover.switches) == (OTHER, 1)


def test_stream_that_cannot_be_opened_counts_for_its_address() -> None:
    failover, clock = made()
    assert failover.lost("wss://one/private/ws?listenKey=k", connected=False)
    clock.now += SHORTEST_STAY_S
    assert failover.lost("wss://two-streams/private/ws", connected=False)
    assert failover.present is HOME


def test_only_replies_lost_in_a_row_make_it_change() -> None:
    failover, _ = made()
    for _ in range(UNKNOWN_IN_A_ROW - 1):
        assert not failover.lost(URL, connected=True)
    failover.answered(URL)
    for _ in range(UNKNOWN_IN_A_ROW - 1):
        assert not failover.lost(URL, connected=True)
    assert failover.lost(URL, connected=True)


def test_what_is_still_said_of_the_address_that_was_left_counts_for_nothing() -> None:
    failover, clock = made()
    assert failover.lost(URL, connected=False)
    clock.now += SHORTEST_STAY_S
    for _ in range(10):
        assert not failover.lost(URL, connected=False)
    assert failover.present is OTHER


def test_dead_addresses_are_not_raced_through() -> None:
    failover, clock = made()
    assert failover.lost(URL, connected=False)
    assert not failover.lost("https://two/x", connected=False)
    clock.now += SHORTEST_STAY_S
    assert failover.lost("https://two/x", connected=False)


def test_single_address_is_kept_whatever_happens() -> None:
    failover, _ = made(HOME)
    assert not any(failover.lost(URL, connected=False) for _ in range(10))


def test_home_is_due_after_a_while_and_not_before() -> None:
    failover, clock = made()
    assert failover.home_due() is None
    failover.lost(URL, connected=False)
    clock.now += HOME_AFTER_S - 1
    assert failover.home_due() is None
    clock.now += 1
    assert failover.home_due() is HOME
    failover.go_home()
    assert (failover.present, failover.home_due()) == (HOME, None)


def test_no_address_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one endpoint"):
        Failover((), Clock())
