"""Drawing a desk's status in a terminal. Reads the JSON as any other client would: a missing key is shown as unknown."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from breakwater.cli.output import console, row, table
from breakwater.domain.money import plain, to_cents

_STOP_STYLE = {"ARMED": "bold green", "TRIPPED": "bold red", "COOLING_DOWN": "bold yellow", "DISABLED": "bold yellow"}
_SIGN = {"ARMED": "✓", "TRIPPED": "■", "COOLING_DOWN": "◷", "DISABLED": "○"}


def show_status(status: dict[str, Any], url: str) -> None:
    """Print everything worth a look, the emergency stop first."""
    out = console()
    market, fresh = status.get("market") or {}, status.get("freshness") or {}
    speed = f", speed {market.get('speed')}" if market.get("speed") not in (None, "1") else ""
    mode = (status.get("mode") or "mode unknown").upper()
    out.print(f"{status.get('desk')}  {mode}  {market.get('data')} {market.get('source')}{speed}  {url}", style="bold")
    _stop(status.get("stop") or {}, status.get("gate") or {})
    if fresh.get("stale", True):
        age = fresh.get("last_mark_age_seconds")
        when = "no market tick was received yet" if age is None else f"no market tick for {age:.0f} s"
        out.print(f"STALE: {when}; figures are old", style="bold red")
    _money(status)
    _positions(status.get("positions") or [])
    _risk(status.get("risk") or [])
    _refusals(status.get("refusals") or [])
    _components(status.get("components") or [])
    _dead_letters((status.get("counts") or {}).get("dead_letters", 0))


def _stop(stop: dict[str, Any], gate: dict[str, Any]) -> None:
    out = console()
    state = stop.get("state", "UNKNOWN")
    heard = "" if stop.get("lease_fresh") else " (not heard now)"
    reason = f": {stop['reason']}" if stop.get("reason") else ""
    out.print(
        f"{_SIGN.get(state, '?')} Emergency stop {state}{heard}{reason}", style=_STOP_STYLE.get(state, "bold red")
    )
    closed = gate.get("code") or ""
    out.print(f"  Gate {gate.get('state', 'UNKNOWN')}{f' ({closed})' if closed else ''}")
    if stop.get("trip_id") is None:
        return
    unit = stop.get("unit", "")
    if stop.get("measured") is not None:
        limit = f"{_number(stop['limit'])} {unit} ({stop.get('binding')})"
        out.print(f"  {stop.get('trigger')}: measured {_number(stop['measured'])} {unit}, limit {limit}")
    out.print(f"  Trip {stop['trip_id']} at {_time(stop.get('tripped_at'))} by {stop.get('who')}")
    out.print("  A reset needs:")
    for need in stop.get("needs") or []:
        out.print(
            f"    {'✓' if need.get('met') else '○'} {need.get('text')}", style="green" if need.get("met") else None
        )
    out.print(f"  Then: {stop.get('reset_command')}")


def _money(status: dict[str, Any]) -> None:
    snapshot, out = status.get("snapshot"), console()
    if snapshot is None:
        out.print("No snapshot of the portfolio yet.")
        return
    equity, baseline = Decimal(snapshot["equity"]), Decimal(snapshot["baseline"])
    out.print(
        f"Equity {_usd(snapshot['equity'])} USDT, today {_signed(equity - baseline)}, open {_signed(Decimal(snapshot['unrealised_pnl']))}, "
        f"exposure {_number(snapshot['exposure_pct'])} %, ledger {'agrees' if snapshot['reconciled'] else 'NOT RECONCILED'}"
    )


def _positions(positions: list[dict[str, Any]]) -> None:
    if not positions:
        console().print("Flat.")
        return
    right = ("Quantity", "Entry", "Mark", "Open PnL", "Stop sent")
    shown = table("Symbol", "Side", *right, right=right)
    for p in positions:
        row(
            shown, p["symbol"], f"{p['side']} {p['leverage']}x", p["quantity"], p["entry_price"], p["mark_price"],
            _signed(Decimal(p["unrealised_pnl"])), p.get("stop_price") or "-",
        )  # fmt: skip
    console().print(shown)


def _risk(bars: list[dict[str, Any]]) -> None:
    if not bars:
        return
    shown = table("Risk", "Used", "Limit", "From", right=("Used", "Limit"))
    for bar in bars:
        style = {"near": "yellow", "over": "bold red"}.get(bar["level"])
        row(
            shown,
            bar["label"],
            _number(bar["used"]),
            f"{_number(bar['limit'])} {bar['unit']}".strip(),
            bar["binding"],
            style=style,
        )
    console().print(shown)


def _refusals(refusals: list[dict[str, Any]]) -> None:
    if not refusals:
        return
    shown = table("Refused", "Times", "Last", right=("Times",))
    for each in refusals:
        row(shown, each["code"], each["count"], f"{each['last_symbol']}: {each['last_text']}")
    console().print(shown)


def _components(components: list[dict[str, Any]]) -> None:
    if not components:
        console().print("No component was heard.", style="bold red")
        return
    unwell = [c for c in components if c["status"] != "ok"]
    console().print(f"Components: {len(components) - len(unwell)} of {len(components)} ok")
    for c in unwell:
        told = [f"{check}: {detail}" if (detail := c["detail"].get(check)) else check for check in c["failing"]]
        why = "; ".join(told) or f"last heard {c['age_seconds']:.0f} s ago"
        console().print(f"  {c['name']} {c['status']}: {why}", style="yellow")


def _dead_letters(count: int) -> None:
    if count:
        console().print(
            f"{count} event(s) were set aside after failing: breakwater dead-letters list", style="bold red"
        )


def _number(text: str | None) -> str:
    return "-" if text is None else plain(to_cents(Decimal(text)))


def _usd(text: str) -> str:
    return f"{to_cents(Decimal(text)):,}"


def _signed(amount: Decimal) -> str:
    return f"{to_cents(amount):+,}"


def _time(text: str | None) -> str:
    return "-" if not text else text[:19].replace("T", " ") + " UTC"
