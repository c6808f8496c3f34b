"""The report of the crash drill. Its JSON keys are an interface: docs/reference/drills.md."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import msgspec


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


class CrashReport(msgspec.Struct, frozen=True):
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

    def to_json(self) -> bytes:
        """One JSON object. Decimals are JSON numbers here, written out exactly; times are ISO 8601 in UTC."""
        return msgspec.json.format(_encoder.encode(self), indent=2)

    def summary_rows(self) -> list[tuple[str, str]]:
        """The report for people, a row a fact."""
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


_encoder = msgspec.json.Encoder(decimal_format="number")


def _pct(value: Decimal | None) -> str:
    return "-" if value is None else f"{value:.2f} %"


def _clock(moment: datetime | None) -> str:
    return "not reached" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _refused(refused: bool | None, code: str | None) -> str:
    if refused is None:
        return "not reached"
    return f"refused{f' ({code})' if code else ''}" if refused else "ACCEPTED"
