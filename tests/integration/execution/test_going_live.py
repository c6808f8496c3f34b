"""The transition into Live, and everything else a venue can say that keeps a desk from opening anything: closed, with what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from breakwater.domain.ids import Symbol
from breakwater.domain.policy import TradingMode
from breakwater.domain.refusals import RefusalCode
from breakwater.domain.signals import DataKind, Provenance
from breakwater.domain.stop_state import StopState
from breakwater.exchange.client import Credentials
from breakwater.runtime.events import OrderFailed, OrderRefused

D = Decimal
Play = Callable[..., Any]
ORDER = "/fapi/v1/order?"
SAFE_KEY = {"ipRestrict": True, "enableWithdrawals": False, "enableFutures": True, "enableReading": True}
REAL = Provenance("models", DataKind.MARKET)


def live(rig: Any, key: dict[str, Any] | None = None, mode: TradingMode = TradingMode.LIVE) -> None:
    rig.mode, rig.data = mode, DataKind.MARKET
    rig.policy.spec = msgspec.structs.replace(rig.policy.spec, trading_mode=mode)
    body = json.dumps({**SAFE_KEY, **(key or {})})
    rig.venue.faults.append(("GET", "/sapi/v1/account/apiRestrictions", rig_answer(body), [10**6]))


def rig_answer(body: str) -> Any:
    from breakwater.paper_venue.core import Response

    return lambda _: Response(200, {"Content-Type": "application/json"}, body.encode())


async def refused(rig: Any, number: int = 1) -> Any:
    """An entry that the gate refuses: what it said. Nothing was sent."""
    before = rig.venue.count("POST", ORDER)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        await rig.mark(symbol)
    await rig.snapshot()
    await rig.propose(rig.entry(f"r-{number}", provenance=REAL), wait=1)
    assert rig.venue.count("POST", ORDER) == before
    assert rig.held() == 0
    return rig.said(OrderRefused)[-1].refusal


async def enters(rig: Any, proposal_id: str = "p-1") -> None:
    for symbol in ("BTCUSDT", "ETHUSDT"):
        await rig.mark(symbol)
    await rig.snapshot()
    await rig.propose(rig.entry(proposal_id, provenance=REAL), wait=1)
    assert rig.held() == D("0.120"), rig.service.gate()
    assert rig.stops() == [(D("0.120"), D(98000))]


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ({"enableWithdrawals": True}, "the API key can withdraw money: switch 'Enable Withdrawals' off"),
        ({"ipRestrict": False}, "the API key works from any address: restrict it to this desk's IP address"),
        ({"enableFutures": False}, "the API key may not trade futures: switch 'Enable Futures' on"),
        ({"enableFutures": None}, "what the API key may do has not been read yet"),
    ],
)
def test_live_with_a_key_that_may_too_much_or_too_little_opens_nothing(
    play: Play, key: dict[str, Any], sentence: str
) -> None:
    async def scenario(rig: Any) -> None:
        live(rig, key)
        await rig.begin()
        await rig.sleep(2)
        refusal = await refused(rig)
        assert refusal.code is RefusalCode.VENUE_NOT_CLEARED
        assert sentence in refusal.text

    play(scenario, ready=False)


def test_live_with_a_safe_key_and_everything_in_place_trades(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        live(rig)
        await rig.begin()
        await rig.sleep(2)
        await enters(rig)

    play(scenario, ready=False)


def test_live_begins_only_once_the_stop_is_armed_and_a_restart_asks_no_second_time(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        live(rig)
        rig._state = StopState.DISABLED
        await rig.begin()
        await rig.sleep(2)
        assert "the emergency stop must be ARMED" in rig.service.parts.clearance.trouble()
        await rig.stop_state(StopState.ARMED)
        await rig.sleep(2)
        assert rig.service.parts.clearance.trouble() == ""
        await enters(rig)
        # The stop trips: no going Live would pass now, and the desk, Live already, is not asked to.
        await rig.stop_state(StopState.DISABLED)
        await rig.kill()
        await rig.restart()
        await rig.sleep(2)
        assert rig.service.parts.clearance.trouble() == ""

        await rig.kill()
        rig.mode = TradingMode.PAPER
        await rig.restart()
        await rig.kill()
        rig.mode = TradingMode.LIVE
        await rig.restart()
        await rig.sleep(2)
        assert "the emergency stop must be ARMED" in rig.service.parts.clearance.trouble()

    play(scenario, ready=False)


def test_live_on_synthetic_data_opens_nothing(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        live(rig)
        rig.data = DataKind.SYNTHETIC
        await rig.begin()
        await rig.sleep(2)
        assert "the market data are SYNTHETIC" in (await refused(rig)).text

    play(scenario, ready=False)


def test_policy_that_says_live_to_a_process_started_for_paper_opens_nothing(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        live(rig)
        rig.mode = TradingMode.PAPER
        await rig.begin()
        refusal = await refused(rig)
        assert refusal.code is RefusalCode.VENUE_NOT_CLEARED
        assert "the policy says Live, this process was started for Paper" in refusal.text

    play(scenario, ready=False)


@pytest.mark.parametrize("setting", ["dualSidePosition", "multiAssetsMargin"])
def test_live_on_an_account_in_another_mode_opens_nothing(play: Play, setting: str) -> None:
    async def scenario(rig: Any) -> None:
        live(rig)
        path = "positionSide/dual" if setting == "dualSidePosition" else "multiAssetsMargin"
        rig.venue.faults.append(("GET", path, rig_answer(json.dumps({setting: True})), [10**6]))
        await rig.begin()
        await rig.sleep(3)
        assert (await refused(rig)).code is RefusalCode.NOT_RECONCILED
        assert "mode: switch it to" in rig.service.parts.reconciler.problem

    play(scenario, ready=False)


def test_live_desk_with_a_position_and_a_key_gone_bad_keeps_it_protected_and_closes_it(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        live(rig)
        await rig.begin()
        await rig.sleep(2)
        await enters(rig)
        await rig.kill()

        rig.venue.faults.clear()
        live(rig, {"enableWithdrawals": True, "ipRestrict": False})
        account = rig.core.ledger.state.accounts["paper"]
        rig.core._algos.cancel_all(account, "BTCUSDT", rig._session.now())
        assert rig.stops() == []
        await rig.restart()
        await rig.sleep(2)
        assert rig.service.gate()[1].code is RefusalCode.VENUE_NOT_CLEARED
        assert rig.held() == D("0.120")
        assert rig.stops() == [(D("0.120"), D(98000))]
        await rig.trip()
        await rig.sleep(3)
        assert rig.held() == 0

    play(scenario, ready=False)


def test_wrong_key_is_said_and_nothing_is_opened(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        rig.credentials = Credentials("no-such-key", "secret")
        await rig.begin()
        await rig.sleep(2)
        refusal = await refused(rig)
        assert refusal.code is RefusalCode.VENUE_NOT_CLEARED
        assert "the venue refuses the API key (-2015" in refusal.text
        assert "check key and secret" in refusal.text

    play(scenario, ready=False)


def test_wrong_secret_is_said_and_nothing_is_opened(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        rig.credentials = Credentials("paper-key", "not-the-secret")
        await rig.begin()
        await rig.sleep(2)
        assert "the venue refuses the API key (-1022" in (await refused(rig)).text

    play(scenario, ready=False)


def test_symbol_that_the_venue_does_not_list_opens_nothing(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        rig.policy.spec = msgspec.structs.replace(rig.policy.spec, symbols=(Symbol("BTCUSDT"), Symbol("NOSUCHUSDT")))
        await rig.begin()
        await rig.propose(rig.entry("p-1", symbol=Symbol("NOSUCHUSDT")), wait=1)
        why = rig.said(OrderRefused)[-1].refusal
        assert why.code is RefusalCode.INSTRUMENT_UNKNOWN
        assert rig.venue.count("POST", ORDER) == 0
        await enters(rig, "p-2")  # and it keeps nothing else from being traded

    play(scenario, ready=False)


def changed_info(change: Callable[[dict[str, Any]], None]) -> Any:
    """The venue's own exchangeInfo with BTCUSDT changed."""

    def fault(handle: Any) -> Any:
        reply = handle()
        info = json.loads(reply.body)
        change(next(row for row in info["symbols"] if row["symbol"] == "BTCUSDT"))
        return type(reply)(reply.status, reply.headers, json.dumps(info).encode())

    return fault


def test_symbol_that_is_halted_opens_nothing(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        halted = changed_info(lambda row: row.update(status="SETTLING"))
        rig.venue.fail("GET", "/fapi/v1/exchangeInfo", halted, times=10**6)
        await rig.begin()
        refusal = await refused(rig)
        assert refusal.code is RefusalCode.INSTRUMENT_HALTED
        assert "does not trade BTCUSDT at the moment" in refusal.text

    play(scenario, ready=False)


def test_rules_that_change_under_us_are_read_again_and_held_to(play: Play, faults: Any) -> None:
    """The venue takes coarser prices from now on. It refuses the first order; the second is refused here, and one fits."""

    def coarser(row: dict[str, Any]) -> None:
        next(f for f in row["filters"] if f["filterType"] == "PRICE_FILTER")["tickSize"] = "10"

    async def scenario(rig: Any) -> None:
        await rig.sleep(6)
        rig.venue.fail("POST", ORDER, faults.answer(400, '{"code":-4014,"msg":"Price not increased by tick size."}'))
        rig.venue.fail("GET", "/fapi/v1/exchangeInfo", changed_info(coarser), times=10**6)
        await rig.mark(Symbol("BTCUSDT"))
        await rig.snapshot()
        await rig.propose(rig.entry("p-1", price=D("100403.3")), wait=1)
        assert rig.said(OrderFailed)[-1].code == "-4014"
        await rig.sleep(6)
        sent = rig.venue.count("POST", ORDER)
        for symbol in ("BTCUSDT", "ETHUSDT"):
            await rig.mark(symbol)
        await rig.snapshot()
        await rig.propose(rig.entry("p-2", price=D("100403.3")), wait=1)
        assert rig.said(OrderRefused)[-1].refusal.code is RefusalCode.PRICE_GRID
        assert rig.venue.count("POST", ORDER) == sent
        await rig.propose(rig.entry("p-3", price=D("100400")), wait=1)
        assert rig.held() == D("0.120")

    play(scenario)
