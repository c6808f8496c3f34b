"""From what execution says to what the machine does about it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from breakwater.domain import emergency_stop as machine
from breakwater.domain.orders import OrderRole
from breakwater.domain.stop_memory import Memory, Step
from breakwater.domain.stop_rules import StopRules
from breakwater.runtime.events import AccountReported, Event, FlatConfirmed, OrderFailed, OrderSubmitted

Work = Callable[[Memory, StopRules | None, datetime], Step]


def outcomes_missing(memory: Memory, rules: StopRules | None, now: datetime) -> Step:
    """Events of execution are lost: an error may be among them, so it counts as one."""
    return machine.on_execution_outcome(memory, None, "events of execution are missing from the bus", rules, now)


def work_of(event: Event) -> Work | None:
    """What an event of execution asks of the machine; None when it says nothing to the stop."""
    position = (event.epoch, event.sequence)
    match event.payload:
        case OrderSubmitted(role=OrderRole.ENTRY):
            return lambda memory, rules, now: machine.on_execution_outcome(memory, position, None, rules, now)
        case OrderFailed(counts_as_error=True) as failed:
            text = f"{failed.symbol} {failed.role.value}: {failed.code} {failed.text}"
            return lambda memory, rules, now: machine.on_execution_outcome(memory, position, text, rules, now)
        case AccountReported() as report:
            held = sum(1 for held in report.positions if held.quantity)
            return lambda memory, rules, now: machine.on_account(memory, report.time, held, rules, now)
        case FlatConfirmed() as flat:
            orders = flat.open_orders + flat.open_algo_orders
            return lambda memory, _, now: machine.on_flat(
                memory, flat.trip_id, flat.epoch, flat.time, positions=flat.positions, open_orders=orders, now=now
            )
        case _:
            return None
