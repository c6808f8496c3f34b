"""What the gate says when it refuses: the code, a sentence a person can act on, and the numbers."""

from __future__ import annotations

from decimal import Decimal

from breakwater.domain.gate_facts import GateFacts
from breakwater.domain.money import ZERO, plain
from breakwater.domain.orders import Proposal, Protection
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.domain.stop_state import StopState, StopView


def refuse_over(code: RefusalCode, what: str, value: Decimal, limit: Decimal, unit: str) -> Refusal:
    return refuse(
        code, f"{what} {value:.2f} {unit} is above the limit of {plain(limit)} {unit}", value=value, limit=limit
    )


def shown(value: Decimal | None) -> str:
    return "none" if value is None else plain(value)


def refuse(code: RefusalCode, text: str, **numbers: Decimal | int) -> Refusal:
    if not numbers:
        return Refusal(code, text)
    figures = {name: plain(value) if isinstance(value, Decimal) else str(value) for name, value in numbers.items()}
    return Refusal(code, text, figures)


def refuse_stopped(stop: StopView) -> Refusal:
    """The stop is neither armed nor disabled."""
    if stop.state is StopState.TRIPPED:
        why = f": {stop.trip.reason}" if stop.trip else ""
        return refuse(RefusalCode.STOP_TRIPPED, f"the emergency stop has tripped{why}", epoch=stop.epoch)
    until = f" until {stop.cooling_down_until:%H:%M:%S} UTC" if stop.cooling_down_until else ""
    return refuse(
        RefusalCode.STOP_COOLING_DOWN,
        f"the emergency stop is cooling down{until} and needs a person's reset afterwards",
        epoch=stop.epoch,
    )


def refuse_unknown(proposal: Proposal, facts: GateFacts) -> Refusal:
    """Something that an entry is judged by is missing; says what."""
    rules = facts.instrument
    if rules is None:
        return refuse(RefusalCode.INSTRUMENT_UNKNOWN, f"the venue's rules for {proposal.symbol} are not known yet")
    if not rules.trading:
        return refuse(RefusalCode.INSTRUMENT_HALTED, f"the venue does not trade {proposal.symbol} at the moment")
    if facts.mark is None or facts.mark <= ZERO:
        return refuse(RefusalCode.PRICE_UNKNOWN, f"no recent mark price of {proposal.symbol} is known")
    if facts.equity is None or facts.equity <= ZERO:
        return refuse(
            RefusalCode.EQUITY_UNKNOWN,
            "the account's equity is not positive, or not known: there is no complete, recent portfolio snapshot",
        )
    if facts.marks_missing:
        return refuse(
            RefusalCode.PRICE_UNKNOWN,
            f"exposure is not known: no recent mark price of {', '.join(sorted(facts.marks_missing))}",
        )
    return refuse(
        RefusalCode.UNRESOLVED_ORDER,
        f"the outcome of an earlier order in {proposal.symbol} is still being looked up",
    )


def refuse_wrong_side(proposal: Proposal, protection: Protection, price: Decimal, what: str) -> Refusal:
    which = shown(protection.stop_price if what == "stop" else protection.target_price)
    return refuse(
        RefusalCode.PROTECTION_WRONG_SIDE,
        f"the {what} price {which} is on the wrong side of the limit price {plain(price)} for a {proposal.side}",
    )
