"""The reports of the drills. Their JSON keys are an interface: docs/reference/drills.md."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import msgspec

from breakwater.domain.stop_state import Trip


class Report(msgspec.Struct, frozen=True):
    """Base of all reports."""

    def to_json(self) -> bytes:
        """One JSON object. Decimals are JSON numbers here, written out exactly; times are ISO 8601 in UTC."""
        return msgspec.json.format(_encoder.encode(self), indent=2)

    def summary_rows(self) -> list[tuple[str, str]]:
        """The report for people, a row a fact."""
        raise NotImplementedError


class TripReport(msgspec.Struct, frozen=True):
    """Why and when the emergency stop fired. ``binding`` names the setting the limit came from."""

    time: datetime
    trigger: str
    measured_pct: Decimal | None
    limit_pct: Decimal | None
    binding: str


class OrdersReport(msgspec.Struct, frozen=True):
    submitted: int
    """Orders the venue accepted, protective ones included."""
    filled: int
    """Orders with at least one fill."""
    refused_by_code: dict[str, int]


class LedgerReport(msgspec.Struct, frozen=True):
    """Equity in USDT to the cent, by our own ledger and by the venue's account."""

    breakwater_equity: Decimal
    venue_equity: Decimal
    difference: Decimal


class ResetReport(msgspec.Struct):
    """How the reset went: asked too early, again with the cause still standing, then with a new baseline. None: not reached."""

    early_refused: bool | None = None
    early_code: str | None = None
    refused_again_without_new_baseline: bool | None = None
    rearmed: bool = False
    rearmed_at: datetime | None = None


class CrashReport(Report, frozen=True):
    """What happened to the desk. Times are market time (UTC)."""

    tripped: bool
    trip: TripReport | None
    gate_closed_ms: float | None
    """Wall milliseconds from the tick that first breached the limit, as the venue emitted it, to the gate being closed."""
    flat_at: datetime | None
    risk_increasing_orders_accepted_after_trip: int
    """Counted at the venue, from the instant the emergency stop tripped until it was re-armed or the drill ended."""
    positions_at_end: int
    open_orders_at_end: int
    """Plain and algo orders together."""
    orders: OrdersReport
    ledger: LedgerReport
    reset: ResetReport
    state_at_end: str
    duration_s: float
    """Wall seconds the drill took."""

    def summary_rows(self) -> list[tuple[str, str]]:
        rows = [("stop tripped", "yes" if self.tripped else "no")]
        if self.trip is not None:
            rows.append(
                (
                    "why",
                    f"{self.trip.trigger} {_pct(self.trip.measured_pct)} against {_pct(self.trip.limit_pct)} "
                    f"({self.trip.binding}) at {_clock(self.trip.time)}",
                )
            )
            closed = (
                "not seen" if self.gate_closed_ms is None else f"{self.gate_closed_ms:.1f} ms after the breaching tick"
            )
            rows.append(("gate closed", closed))
            rows.append(("flat", _clock(self.flat_at)))
            rows.append(("risk-increasing orders after the trip", str(self.risk_increasing_orders_accepted_after_trip)))
            rows.append(("early reset", _refused(self.reset.early_refused, self.reset.early_code)))
            rows.append(
                ("reset with the cause standing", _refused(self.reset.refused_again_without_new_baseline, None))
            )
            rows.append(("re-armed", _clock(self.reset.rearmed_at)))
        rows += [
            ("orders submitted / filled", f"{self.orders.submitted} / {self.orders.filled}"),
            ("refused", ", ".join(f"{code} {n}" for code, n in sorted(self.orders.refused_by_code.items())) or "none"),
            ("positions / open orders at the end", f"{self.positions_at_end} / {self.open_orders_at_end}"),
            (
                "equity, ours / venue's",
                f"{self.ledger.breakwater_equity} / {self.ledger.venue_equity} (difference {self.ledger.difference})",
            ),
            ("state at the end", self.state_at_end),
            ("took", f"{self.duration_s:.1f} s"),
        ]
        return rows


class ResetAnswer(msgspec.Struct, frozen=True):
    """One request of the reset drill and its answer. ``expected`` is the code that it should get."""

    case: str
    accepted: bool
    code: str
    expected: str
    text: str


class ResetDrillReport(Report, frozen=True):
    """How every way to ask for a reset was answered. Times are market time (UTC)."""

    verdict: str
    """``PASSED`` or ``FAILED``; then ``problems`` says why."""
    problems: tuple[str, ...]
    trip: TripReport | None
    resets: tuple[ResetAnswer, ...]
    accepted: int
    """Requests that re-armed the stop, a repeated one counted once. 1 is right."""
    rearmed_at: datetime | None
    gate_after_rearm: str
    risk_increasing_orders_accepted_while_stopped: int
    """Counted at the venue, from the trip to the re-arm."""
    audit: str
    """``OK``: chain and signature are whole, and every request is in it once. Else what is wrong."""
    audit_records: int
    state_at_end: str
    duration_s: float
    """Wall seconds the drill took."""

    def summary_rows(self) -> list[tuple[str, str]]:
        rows = [("verdict", self.verdict)]
        rows += [("problem", problem) for problem in self.problems]
        if self.trip is not None:
            rows.append(("stop tripped", f"{self.trip.trigger} at {_clock(self.trip.time)}"))
        for answer in self.resets:
            rows.append((answer.case, f"{'accepted' if answer.accepted else 'refused'} ({answer.code})"))
        rows += [
            ("re-armed", _clock(self.rearmed_at)),
            ("gate after the re-arm", self.gate_after_rearm),
            ("risk-increasing orders while stopped", str(self.risk_increasing_orders_accepted_while_stopped)),
            ("audit", f"{self.audit} ({self.audit_records} records)"),
            ("state at the end", self.state_at_end),
            ("took", f"{self.duration_s:.1f} s"),
        ]
        return rows


class EventsReport(msgspec.Struct, frozen=True):
    """Events that at least one consumer group wants, by their ids. ``published`` = ``delivered`` + ``lost``."""

    published: int
    """Taken by the bus."""
    delivered: int
    """Given to the handler of every group that wants them."""
    duplicates: int
    """Handled by a group again."""
    lost: int


class ExitReport(msgspec.Struct, frozen=True):
    """The exit that a person asked for while Redis was away."""

    positions_before: int
    flat_during_outage: bool
    flat_after_s: float | None
    """Wall seconds from the request to the venue's account being flat."""


class RedisOutageReport(Report, frozen=True):
    """What an outage of Redis did to the desk. Durations are wall seconds."""

    verdict: str
    """``PASSED`` or ``FAILED``; then ``problems`` says why."""
    problems: tuple[str, ...]
    outage: str
    """``stop`` (the server hangs) or ``kill`` (it dies and is started again)."""
    outage_s: float
    events: EventsReport
    out_of_order: int
    publishes_refused: int
    """Events that the bus did not take, and said so: market data, which is not kept."""
    gate_during_outage: str
    """By execution itself: ``REDUCE_ONLY``, or ``OPEN`` when it was open at any time later than 2 s into the outage."""
    gate_closed_after_s: float | None
    gate_closed_because: str
    recovered_in_s: float | None
    """From the server's return until buses, stop, ledger and every event's delivery were whole again; None: never."""
    risk_increasing_orders_accepted_during_outage: int
    """Counted at the venue, from the gate's closing (or the outage's start, if it did not close) to the server's return."""
    exit: ExitReport | None
    positions_at_end: int
    open_orders_at_end: int
    """Plain and algo orders together."""
    orders: OrdersReport
    ledger: LedgerReport
    state_at_end: str
    duration_s: float

    def summary_rows(self) -> list[tuple[str, str]]:
        """The report for people, a row a fact."""
        events, leaving = self.events, self.exit
        rows = [("verdict", self.verdict)]
        rows += [("problem", problem) for problem in self.problems]
        closed = "" if self.gate_closed_after_s is None else f", closed after {self.gate_closed_after_s:.2f} s"
        because = f" ({self.gate_closed_because})" if self.gate_closed_because else ""
        went = "not tried"
        if leaving is not None:
            after = f" after {leaving.flat_after_s:.2f} s" if leaving.flat_after_s is not None else ""
            went = (
                f"{leaving.positions_before} positions, {'flat' if leaving.flat_during_outage else 'NOT flat'}{after}"
            )
        rows += [
            ("outage", f"{self.outage_s:g} s ({self.outage})"),
            ("events published / delivered", f"{events.published} / {events.delivered}"),
            ("lost / duplicated / out of order", f"{events.lost} / {events.duplicates} / {self.out_of_order}"),
            ("gate during the outage", f"{self.gate_during_outage}{closed}{because}"),
            ("risk-increasing orders during it", str(self.risk_increasing_orders_accepted_during_outage)),
            ("exit asked for during it", went),
            ("recovered", "NO" if self.recovered_in_s is None else f"{self.recovered_in_s:.2f} s after the server"),
            ("orders submitted / filled", f"{self.orders.submitted} / {self.orders.filled}"),
            (
                "equity, ours / venue's",
                f"{self.ledger.breakwater_equity} / {self.ledger.venue_equity} (difference {self.ledger.difference})",
            ),
            ("state at the end", self.state_at_end),
            ("took", f"{self.duration_s:.1f} s"),
        ]
        return rows


def trip_report(trip: Trip) -> TripReport:
    """``trip`` as reports show it."""
    return TripReport(
        time=trip.time,
        trigger=trip.trigger.value,
        measured_pct=_rounded(trip.measured),
        limit_pct=_rounded(trip.limit),
        binding=trip.binding,
    )


_encoder = msgspec.json.Encoder(decimal_format="number")


def _rounded(value: Decimal | None) -> Decimal | None:
    return None if value is None else value.quantize(Decimal("0.0001"))


def _pct(value: Decimal | None) -> str:
    return "-" if value is None else f"{value:.2f} %"


def _clock(moment: datetime | None) -> str:
    return "not reached" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _refused(refused: bool | None, code: str | None) -> str:
    if refused is None:
        return "not reached"
    return f"refused{f' ({code})' if code else ''}" if refused else "ACCEPTED"
