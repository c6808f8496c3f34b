"""Clock, keys, trading rules and account modes that are wrong, or change while the desk trades; a venue that wants to be left alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from breakwater.paper_venue.core import Response
from breakwater.runtime.events import AccountReported, OrderFailed, OrderRefused

D = Decimal
Play = Callable[..., Any]


class OffClock:
    """A clock that is 30 s behind the venue's."""

    def __init__(self, honest: Any) -> None:
        self._honest = honest

    def utc_now(self) -> datetime:
        now: datetime = self._honest.utc_now() - timedelta(seconds=30)
        return now

    def monotonic(self) -> float:
        at: float = self._honest.monotonic()
        return at


def changed(old: bytes, new: bytes) -> Callable[[Callable[[], Response]], Response]:
    def fault(handle: Callable[[], Response]) -> Response:
        reply = handle()
        assert old in reply.body
        return Response(reply.status, reply.headers, reply.body.replace(old, new))

    return fault


def jump(rig: Any) -> Callable[[Callable[[], Response]], Response]:
    """After this reply our clock is 30 s behind."""

    def fault(handle: Callable[[], Response]) -> Response:
        reply = handle()
        rig._client.clock = OffClock(rig.clocks.infra)
        return reply

    return fault


def test_clock_that_jumps_right_after_a_fill_leaves_no_position_without_a_stop(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.sleep(5)  # the minute's measurement has just been
        rig.venue.fail("POST", "/fapi/v1/order?", jump(rig))
        await rig.propose(rig.entry(), wait=2)
        assert rig.held() == D("0.120")
        assert len(rig.stops()) == 1
        assert not rig.said(OrderFailed)

    play(scenario)


def test_clock_that_jumps_under_an_entry_keeps_it_here_and_says_to_set_the_clock(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.sleep(5)
        rig.venue.fail("POST", "/fapi/v1/leverage?", jump(rig))
        await rig.propose(rig.entry(), wait=2)
        assert rig.held() == 0
        assert rig.venue.count("POST", "/fapi/v1/order?") == 1
        refusal = rig.said(OrderRefused)[-1].refusal
        assert refusal.code == "VENUE_NOT_CLEARED"
        assert "30.0 s behind the venue's" in refusal.text
        assert "set the clock" in refusal.text
        rig._client.clock = rig.clocks.infra
        await rig.sleep(65)
        for symbol in ("BTCUSDT", "ETHUSDT"):
            await rig.mark(symbol)
        await rig.snapshot()
        await rig.propose(rig.entry("p-2"), wait=2)
        assert rig.held() == D("0.120")

    play(scenario)


def test_venue_that_asks_to_be_left_alone_hears_nothing_until_then_and_the_stop_at_once_after(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        limited = Response(429, {"Retry-After": "20"}, b'{"code":-1003,"msg":"Too many requests."}')
        rig.venue.fail("POST", "algoOrder", lambda handle: limited)
        await rig.propose(rig.entry(), wait=1)
        assert rig.held() == D("0.120")
        before = len(rig.venue.log)
        await rig.sleep(17)
        assert rig.venue.log[before:] == []
        await rig.sleep(3)
        assert len(rig.stops()) == 1 or rig.held() == 0

    play(scenario)


def test_symbol_that_is_halted_while_the_desk_runs_is_refused_and_traded_again_afterwards(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        halted = changed(b'"status":"TRADING"', b'"status":"BREAK"')
        left = rig.venue.fail("GET", "exchangeInfo", halted, times=1000)
        await rig.sleep(62)
        await rig.propose(rig.entry(), wait=1)
        assert rig.said(OrderRefused)[-1].refusal.code == "INSTRUMENT_HALTED"
        assert rig.venue.count("POST", "/fapi/v1/order?") == 0
        left[0] = 0
        await rig.sleep(62)
        for symbol in ("BTCUSDT", "ETHUSDT"):
            await rig.mark(symbol)
        await rig.snapshot()
        await rig.propose(rig.entry("p-2"), wait=1)
        assert rig.held() == D("0.120")

    play(scenario)


def test_order_against_a_changed_rule_has_the_rules_read_again_at_once(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        refused = faults.answer(400, '{"code":-1111,"msg":"Precision is over the maximum defined for this asset."}')
        rig.venue.fail("POST", "/fapi/v1/order?", refused)
        read = rig.venue.count("GET", "exchangeInfo")
        await rig.propose(rig.entry(), wait=1)
        assert rig.held() == 0
        assert rig.venue.count("GET", "exchangeInfo") == read + 1

    play(scenario)


def test_account_switched_to_hedge_mode_closes_the_gate_until_it_is_switched_back(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        hedge = changed(b'"dualSidePosition":false', b'"dualSidePosition":true')
        left = rig.venue.fail("GET", "positionSide/dual", hedge, times=1000)
        await rig.sleep(65)
        _, why = rig.service.gate()
        assert why is not None
        assert why.code == "NOT_RECONCILED"
        assert "one-way mode" in rig.said(AccountReported)[-1].foreign[0]
        left[0] = 0
        await rig.sleep(65)
        for symbol in ("BTCUSDT", "ETHUSDT"):
            await rig.mark(symbol)
        await rig.snapshot()
        assert rig.service.gate()[1] is None

    play(scenario)


def test_refused_key_is_named_with_what_to_check_and_nothing_opens(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        refused = faults.answer(401, '{"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."}')
        left = rig.venue.fail("GET", "timestamp=", refused, times=1000)
        await rig.start()
        await rig.sleep(10)
        check = rig.service.readiness()["account"]
        assert not check.ok
        assert "refuses the API key (-2015" in check.detail
        assert rig.service.gate()[1] is not None
        left[0] = 0
        await rig.sleep(10)
        assert rig.service.readiness()["account"].ok

    play(scenario, ready=False)


def test_ban_closes_the_gate_is_said_and_opens_it_again_by_itself(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        body = b'{"code":-1003,"msg":"Way too many requests; IP banned until 1760126552000."}'
        banned = Response(418, {"Retry-After": "120"}, body)
        rig.venue.fail("GET", "/fapi/v3/account", lambda handle: banned)
        await rig.sleep(6)
        _, why = rig.service.gate()
        assert why is not None
        assert why.code == "VENUE_BANNED"
        assert "stop other programs" in why.text
        await rig.propose(rig.entry(), wait=1)
        assert rig.said(OrderRefused)[-1].refusal.code == "VENUE_BANNED"
        before = len(rig.venue.log)
        await rig.sleep(110)
        assert rig.venue.log[before:] == []
        await rig.sleep(15)
        for symbol in ("BTCUSDT", "ETHUSDT"):
            await rig.mark(symbol)
        await rig.snapshot()
        await rig.propose(rig.entry("p-2"), wait=1)
        assert rig.held() == D("0.120")

    play(scenario)
