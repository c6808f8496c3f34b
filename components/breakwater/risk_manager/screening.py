"""May this signal be sized at all? Pure: what is known at one instant in, the first reason against it out."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import msgspec

from breakwater.domain.ids import Symbol
from breakwater.domain.instruments import Instrument
from breakwater.domain.money import ZERO, plain
from breakwater.domain.policy import SignalSource, TradingMode
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.domain.signals import DataKind, Provenance, Signal
from breakwater.domain.snapshot import Snapshot
from breakwater.domain.stop_state import StopState, StopView
from breakwater.runtime.policy_store import PolicyInForce


class Lease(msgspec.Struct, frozen=True):
    """The stop's last broadcast and when it was heard (infrastructure time, seconds)."""

    view: StopView
    heard_at: float

    def fresh(self, monotonic: float) -> bool:
        return monotonic - self.heard_at <= float(self.view.lease_seconds)


class Knowledge(msgspec.Struct, frozen=True):
    """What the risk manager knows at one instant; None means unknown."""

    now: datetime
    monotonic: float
    in_force: PolicyInForce | None
    lease: Lease | None
    snapshot: Snapshot | None
    instrument: Instrument | None
    mark: Decimal | None
    in_flight: frozenset[Symbol]
    closed_since: datetime | None


Verdict = tuple[Refusal | None, bool]
"""The reason against the signal, if any, and whether waiting may remove it: something is only not known yet."""

_FINE: Verdict = (None, False)


def kind_of_source(provenance: Provenance) -> SignalSource:
    """Which of the policy's kinds of source a signal comes from, by the prefix of its source's name."""
    prefix = provenance.source.partition(":")[0]
    if prefix in {"http", "file"}:
        return SignalSource.EXTERNAL
    return SignalSource.MODELS if provenance.models else SignalSource.HEURISTIC


def screen(signal: Signal, expires_at: datetime, known: Knowledge) -> Verdict:
    """The first reason against ``signal``, in the order a person would look for it."""
    for check in (_signal, _policy, _stop, _account, _market, _room):
        verdict = check(signal, expires_at, known)
        if verdict[0] is not None:
            return verdict
    return _FINE


def _signal(signal: Signal, expires_at: datetime, known: Knowledge) -> Verdict:
    if known.now < expires_at:
        return _FINE
    age = (known.now - signal.time).total_seconds()
    return _no(
        RefusalCode.EXPIRED,
        f"the signal is {age:.0f} s old and expired at {expires_at:%H:%M:%S} UTC",
    )


def _policy(signal: Signal, _: datetime, known: Knowledge) -> Verdict:
    in_force = known.in_force
    if in_force is None:
        return _wait(RefusalCode.POLICY_MISSING, "no trading policy is in force; apply one")
    policy = in_force.policy
    if in_force.stale:
        return _wait(
            RefusalCode.POLICY_STALE,
            "the trading policy is not confirmed: Redis is away, or another copy of it differs",
        )
    if in_force.hold:
        return _no(RefusalCode.POLICY_ON_HOLD, f"the trading policy is on hold: {in_force.hold}")
    if signal.symbol not in policy.symbols:
        return _no(
            RefusalCode.SYMBOL_EXITS_ONLY,
            f"{signal.symbol} is not among the policy's symbols ({', '.join(policy.symbols)}): exits only",
        )
    if (kind := kind_of_source(signal.provenance)) not in policy.signals.sources:
        return _no(
            RefusalCode.SIGNAL_SOURCE,
            f"signals of {signal.provenance.source} count as {kind}; the policy's signals.sources allows "
            f"{', '.join(policy.signals.sources)}",
        )
    if policy.trading_mode is TradingMode.LIVE and signal.provenance.data is not DataKind.MARKET:
        return _no(
            RefusalCode.MOCK_DATA_LIVE,
            f"the signal from {signal.provenance.source} rests on {signal.provenance.data} data, which never trades Live",
        )
    return _FINE


def _stop(_signal_: Signal, __: datetime, known: Knowledge) -> Verdict:
    lease = known.lease
    if lease is None:
        return _wait(RefusalCode.STOP_UNKNOWN, "the emergency stop has not been heard yet; is its component running?")
    view = lease.view
    if view.state is StopState.TRIPPED:
        return _no(
            RefusalCode.STOP_TRIPPED, f"the emergency stop has tripped{f': {view.trip.reason}' if view.trip else ''}"
        )
    if view.state is StopState.COOLING_DOWN:
        return _no(
            RefusalCode.STOP_COOLING_DOWN, "the emergency stop is cooling down and needs a person's reset afterwards"
        )
    if not lease.fresh(known.monotonic):
        return _wait(
            RefusalCode.STOP_LEASE_EXPIRED,
            f"nothing heard from the emergency stop for more than its lease of {plain(view.lease_seconds)} s",
        )
    if view.reduce_only:
        return _wait(
            RefusalCode.STOP_REDUCE_ONLY,
            f"the emergency stop allows exits only: {view.reduce_only_reason or 'no reason given'}",
        )
    return _FINE


def _account(_signal_: Signal, __: datetime, known: Knowledge) -> Verdict:
    snapshot = known.snapshot
    if snapshot is None:
        return _wait(RefusalCode.EQUITY_UNKNOWN, "no snapshot of the portfolio yet, so equity is not known")
    if not snapshot.reconciled:
        return _wait(RefusalCode.NOT_RECONCILED, "the portfolio has not been reconciled with the venue")
    if snapshot.marks_missing:
        return _wait(
            RefusalCode.PRICE_UNKNOWN,
            f"no mark price of the open position in {', '.join(snapshot.marks_missing)}: equity is not known",
        )
    return _FINE


def _market(signal: Signal, _: datetime, known: Knowledge) -> Verdict:
    instrument = known.instrument
    if instrument is None or not instrument.brackets:
        return _wait(
            RefusalCode.INSTRUMENT_UNKNOWN,
            f"the venue's rules or leverage brackets for {signal.symbol} are not known yet",
        )
    if not instrument.trading:
        return _no(RefusalCode.INSTRUMENT_HALTED, f"the venue does not trade {signal.symbol} at the moment")
    if known.mark is None or known.mark <= ZERO:
        return _wait(RefusalCode.PRICE_UNKNOWN, f"no mark price of {signal.symbol} is known yet")
    return _FINE


def _room(signal: Signal, _: datetime, known: Knowledge) -> Verdict:
    snapshot, in_force, symbol = known.snapshot, known.in_force, signal.symbol
    assert snapshot is not None  # checked by _account and _policy
    assert in_force is not None
    if known.closed_since is not None:
        return _no(
            RefusalCode.REPEATED_ORDER,
            f"entries on {symbol} are closed since {known.closed_since:%Y-%m-%d %H:%M:%S} UTC after too many identical "
            f"ones: a person has to look; then: breakwater throttle enable {symbol}",
        )
    held = {position.symbol: position.quantity for position in snapshot.positions if position.quantity != ZERO}
    if symbol in held:
        return _no(
            RefusalCode.POSITION_OPEN,
            f"a position of {plain(held[symbol])} {symbol} is open: no second entry meanwhile",
        )
    if symbol in known.in_flight:
        return _no(RefusalCode.UNRESOLVED_ORDER, f"an entry on {symbol} is under way: one at a time per symbol")
    used, most = len(held.keys() | known.in_flight), in_force.limits.max_concurrent_positions.value
    if used >= most:
        return _no(
            RefusalCode.POSITIONS_MAX,
            f"{used} positions are open or being opened; limits.maxConcurrentPositions is {most}",
            value=used,
            limit=most,
        )
    return _FINE


def _wait(code: RefusalCode, text: str) -> Verdict:
    return Refusal(code, text), True


def _no(code: RefusalCode, text: str, **numbers: int) -> Verdict:
    return Refusal(code, text, {name: str(value) for name, value in numbers.items()}), False
