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

    __slots__ = ("_facts", "_proposal")

    def __init__(self, proposal: Proposal, facts: GateFacts, *, _seal: object) -> None:
        if _seal is not _SEAL:
            raise GateApprovalError("only the gate makes approvals: call decide()")
        object.__setattr__(self, "_proposal", proposal)
        object.__setattr__(self, "_facts", facts)

    @property
    def proposal(self) -> Proposal:
        return self._proposal  # type: ignore[attr-defined,no-any-return]

    @property
    def facts(self) -> GateFacts:
        """What the gate saw."""
        return self._facts  # type: ignore[attr-defined,no-any-return]

    def __setattr__(self, name: str, value: object) -> None:
        raise GateApprovalError("an approval cannot be changed: propose again")

    def __init_subclass__(cls) -> None:
        raise GateApprovalError("an approval cannot be subclassed")

    def __copy__(self) -> Approval:
        raise GateApprovalError("an approval cannot be copied")

    def __reduce__(self) -> str:
        raise GateApprovalError("an approval does not leave its process")


_SEAL: Final = object()


def gate_state(facts: GateFacts) -> tuple[GateState, Refusal | None]:
    """Whether anything that adds risk may pass at all, and if not the first reason why not."""
    reason = closed_because(facts)
    return (GateState.OPEN, None) if reason is None else (GateState.REDUCE_ONLY, reason)


def decide(proposal: Proposal, facts: GateFacts) -> Approval | Refusal:
    """Judge one order. Pure: the same proposal and facts give the same answer."""
    refusal = check_entry(proposal, facts) if proposal.role is OrderRole.ENTRY else check_reduction(proposal, facts)
    return refusal if refusal is not None else Approval(proposal, facts, _seal=_SEAL)
