"""The rows of the fault table: for each action the rules that go wrong with it, as they would stand in a plan."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from breakwater.paper_venue.faults.catalogue import REQUEST_FAULTS, Fault
from breakwater.paper_venue.faults.plan import FaultRule, Match


class Action(enum.StrEnum):
    """What execution is about when it happens."""

    ENTRY = "entry"
    STOP = "stop"
    TARGET = "target"
    CANCEL = "cancel"
    FLATTEN = "flatten"


LETTER = {Action.ENTRY: "e", Action.STOP: "s", Action.TARGET: "t", Action.CANCEL: "e", Action.FLATTEN: "x"}
"""How client ids of the action's order end."""

Rules = Callable[[Action], tuple[FaultRule, ...]]


@dataclass(frozen=True)
class Row:
    """``slow`` rows are left to `make test-slow`; ``no_sense`` says why an action is not played."""

    name: str
    rules: Rules
    slow: bool = False
    no_sense: str = ""
    countdown: bool = False
    """The dead-man switch of the symbol fires half a second after the action."""


def of_action(action: Action) -> Match:
    """The action's own request."""
    path = "*/algoOrder" if action is Action.STOP else "*/order"
    method = "DELETE" if action is Action.CANCEL else "POST"
    return Match(method=method, path=path, client_id=f"*-{LETTER[action]}")


def _request(fault: Fault, **more: Any) -> Rules:
    return lambda action: (FaultRule(fault, of_action(action), **more),)


def _everything(fault: Fault, seconds: float, **more: Any) -> Rules:
    return lambda _: (FaultRule(fault, Match(to_s=seconds), count=0, **more),)


def _lagging(*paths: str) -> Rules:
    return lambda _: tuple(
        FaultRule(Fault.STALE_READ, Match(method="GET", path=path, to_s=3.0), count=0) for path in paths
    )


def _events(fault: Fault, **more: Any) -> Rules:
    """Every message about the action's order."""
    return lambda action: (FaultRule(fault, Match(client_id=f"*-{LETTER[action]}"), count=0, **more),)


def _instant(fault: Fault, **more: Any) -> Rules:
    return lambda _: (FaultRule(fault, **more),)


def _filter_changed(action: Action) -> tuple[FaultRule, ...]:
    """A grid on which the action's price does not lie."""
    tick = Decimal(700) if action is Action.ENTRY else Decimal(300)
    return (FaultRule(Fault.FILTER_CHANGED, Match(symbol="BTCUSDT"), tick_size=tick),)


def _halted(action: Action) -> tuple[FaultRule, ...]:
    """For a second where a position is open: while it lasts nobody can protect or close anything."""
    seconds = 30.0 if action in (Action.ENTRY, Action.CANCEL) else 1.0
    return (FaultRule(Fault.SYMBOL_HALTED, Match(symbol="BTCUSDT", to_s=seconds)),)


_GAP = {
    Action.ENTRY: "1.02",
    Action.STOP: "0.97",
    Action.TARGET: "1.045",
    Action.CANCEL: "0.985",
    Action.FLATTEN: "0.97",
}
"""Over the entry's limit; through the stop; through the target; through the resting entry and not its stop; anywhere."""


def _gap(action: Action) -> tuple[FaultRule, ...]:
    return (FaultRule(Fault.PRICE_GAP, Match(symbol="BTCUSDT", to_s=60.0), factor=Decimal(_GAP[action])),)


REFUSALS = {
    -1022: "Signature for this request is not valid.",
    -2010: "New order rejected.",
    -2018: "Balance is insufficient.",
    -2019: "Margin is insufficient.",
    -2021: "Order would immediately trigger.",
    -2022: "ReduceOnly Order is rejected.",
    -2024: "Position is not sufficient.",
    -2027: "Exceeded the maximum allowable position at current leverage.",
    -2028: "Leverage is smaller than permitted: insufficient margin balance.",
    -4059: "No need to change position side.",
    -4061: "Order's position side does not match user's setting.",
    -4067: "Position side cannot be changed if there exists open orders.",
    -4068: "Position side cannot be changed if there exists position.",
    -4131: "The counterparty's best price does not meet the PERCENT_PRICE filter limit.",
    -4164: "Order's notional must be no smaller than 5.0 (unless you choose reduce only).",
    -5021: "Due to the order could not be filled immediately, the FOK order has been rejected.",
    -5022: "Due to the order could not be executed as maker, the Post Only order will be rejected.",
}
"""What the venue says no with, once, to the action's own request."""


def _refused(code: int) -> Rules:
    return _request(Fault.REJECTED, code=code, text=REFUSALS[code])


MARGIN_REFUSALS = {
    -4046: "No need to change margin type.",
    -4047: "Margin type cannot be changed if there exists open orders.",
    -4048: "Margin type cannot be changed if there exists position.",
}


def _margin_refused(code: int) -> Rules:
    """Isolated margin is asked for before the first entry: there is one such request in every cell."""
    rule = FaultRule(Fault.REJECTED, Match(method="POST", path="*/marginType"), code=code, text=MARGIN_REFUSALS[code])
    return lambda _: (rule,)


def _requests() -> list[Row]:
    """One row per fault of a request; two where the venue may have done it or not."""
    fast = {
        Fault.RESET_BEFORE,
        Fault.RESET_AFTER,
        Fault.HANG,
        Fault.TRUNCATED,
        Fault.EMPTY,
        Fault.UNKNOWN_503,
        Fault.RATE_LIMITED_429,
        Fault.CLOCK_1021,
    }
    rows = []
    for fault, how in REQUEST_FAULTS.items():
        if fault in (Fault.REJECTED, Fault.SLOW_REPLY, Fault.STALE_READ):
            continue
        if not how.ambiguous:
            rows.append(Row(how.means, _request(fault), slow=fault not in fast))
            continue
        for executed in (True, False):
            said = "the venue did it" if executed else "the venue did not do it"
            rows.append(
                Row(f"{how.means}; {said}", _request(fault, executed=executed), slow=fault not in fast or not executed)
            )
    return rows


def _nothing(_: Action) -> tuple[FaultRule, ...]:
    return ()


ROWS: tuple[Row, ...] = (
    *_requests(),
    Row("a batch with one leg refused", _nothing, no_sense="execution sends every order by itself"),
    *(Row(f"400 with {code}", _refused(code), slow=code not in (-2019, -2022)) for code in REFUSALS),
    *(Row(f"400 with {code} to isolated margin", _margin_refused(code), slow=True) for code in MARGIN_REFUSALS),
    Row("nothing reaches the venue for 1.5 s", _everything(Fault.RESET_BEFORE, 1.5)),
    Row("no reply comes back for 1.5 s", _everything(Fault.RESET_AFTER, 1.5), slow=True),
    Row("429 to everything for 1.5 s", _everything(Fault.RATE_LIMITED_429, 1.5, retry_after_s=1), slow=True),
    Row("the user event comes 0.5 s before the reply", _request(Fault.SLOW_REPLY, delay_s=0.5)),
    Row("positions and account lag 3 s behind", _lagging("*/positionRisk", "*/account")),
    Row("open orders of both kinds lag 3 s behind", _lagging("*/openOrders", "*/openAlgoOrders"), slow=True),
    Row("the order's events are lost", _events(Fault.EVENT_LOST)),
    Row("the order's events come twice", _events(Fault.EVENT_DUPLICATED), slow=True),
    Row("the order's events come 1.5 s late", _events(Fault.EVENT_DELAYED, delay_s=1.5), slow=True),
    Row("the order's events come in another order", _events(Fault.EVENT_REORDERED), slow=True),
    Row("every stream is silent for 30 s", lambda _: (FaultRule(Fault.STREAM_SILENT, Match(to_s=30.0), count=0),)),
    Row("every stream is closed", _instant(Fault.STREAM_CLOSED), slow=True),
    Row("the listen key expires", _instant(Fault.LISTEN_KEY_EXPIRED)),
    Row("the listen key is dead without notice", _instant(Fault.LISTEN_KEY_DEAD), slow=True),
    Row("the price filter has changed", _filter_changed),
    Row("the symbol is halted", _halted),
    Row("the price jumps", _gap),
    Row("the dead-man switch fires, plain orders only", _nothing, countdown=True),
    Row(
        "the dead-man switch fires, conditional orders too",
        _instant(Fault.COUNTDOWN_CANCELS_ALGO),
        countdown=True,
    ),
)
