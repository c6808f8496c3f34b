"""The gate: the one pure function that says Approval or Refusal for every single order.

Its state is OPEN or REDUCE_ONLY, never less than REDUCE_ONLY: an order that truly reduces a position passes whatever
else is wrong. Whoever sends an order fills `GateFacts` from its own books after its last await and calls `decide`;
only `decide` can make an `Approval`, and the venue gateway takes nothing else. The rules are in `gate_rules`.
"""

from __future__ import annotations

from typing import Final

from breakwater.domain.gate_facts import GateFacts, GateState
from breakwater.domain.gate_rules import check_entry, check_reduction, closed_because
from breakwater.domain.orders import OrderRole, Proposal
from breakwater.domain.refusals import Refusal

__all__ = ["Approval", "GateApprovalError", "GateFacts", "GateState", "decide", "gate_state"]


class GateApprovalError(TypeError):
    """Somebody tried to make an Approval without the gate."""


class Approval:
    """A proposal that passed the gate. Cannot be made, copied or changed by anything else."""

    __slots__ = ("facts", "proposal")

    proposal: Proposal
    facts: GateFacts
    """What the gate saw."""

    def __init__(self, *_: object, **__: object) -> None:
        raise GateApprovalError("only the gate makes approvals: call decide()")

    def __setattr__(self, name: str, value: object) -> None:
        raise GateApprovalError("an approval cannot be changed: propose again")

    def __delattr__(self, name: str) -> None:
        raise GateApprovalError("an approval cannot be changed: propose again")

    def __init_subclass__(cls) -> None:
        raise GateApprovalError("an approval cannot be subclassed")

    def __copy__(self) -> Approval:
        raise GateApprovalError("an approval cannot be copied")

    def __reduce__(self) -> str:
        raise GateApprovalError("an approval does not leave its process")


_new: Final = object.__new__
_set_proposal: Final = Approval.__dict__["proposal"].__set__
_set_facts: Final = Approval.__dict__["facts"].__set__
_ENTRY: Final = OrderRole.ENTRY
_OPEN: Final = GateState.OPEN
_REDUCE_ONLY: Final = GateState.REDUCE_ONLY


def gate_state(facts: GateFacts) -> tuple[GateState, Refusal | None]:
    """Whether anything that adds risk may pass at all, and if not the first reason why not."""
    reason = closed_because(facts)
    return (_OPEN, None) if reason is None else (_REDUCE_ONLY, reason)


def decide(proposal: Proposal, facts: GateFacts) -> Approval | Refusal:
    """Judge one order. Pure: the same proposal and facts give the same answer."""
    refusal = check_entry(proposal, facts) if proposal.role is _ENTRY else check_reduction(proposal, facts)
    if refusal is not None:
        return refusal
    approval = _new(Approval)
    _set_proposal(approval, proposal)
    _set_facts(approval, facts)
    return approval
