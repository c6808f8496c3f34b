"""Our order ids at the venue: deterministic, so that the same command always has the same id and can be looked up by it."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

from breakwater.domain.ids import ClientOrderId, DeskId, ProposalId
from breakwater.domain.orders import OrderRole

PATTERN = re.compile(r"^[.A-Z:/a-z0-9_-]{1,36}$")
"""What the venue takes (Binance newClientOrderId, clientAlgoId)."""

CHILD_MARK = "~"
_ROLE_LETTER = {OrderRole.ENTRY: "e", OrderRole.STOP: "s", OrderRole.TARGET: "t", OrderRole.EXIT: "x"}


@lru_cache(maxsize=64)
def desk_prefix(desk: DeskId) -> str:
    """Begins every id of ``desk``: an order at the venue is the desk's exactly when its id begins so."""
    return f"bw{_digest(desk, 6)}-"


@lru_cache(maxsize=1024)  # an order asks for its id again and again
def client_order_id(desk: DeskId, proposal_id: ProposalId, role: OrderRole) -> ClientOrderId:
    """The id under which ``proposal_id`` is sent, however often it is tried."""
    return ClientOrderId(f"{desk_prefix(desk)}{_digest(proposal_id, 16)}-{_ROLE_LETTER[role]}")


def role_of(client_id: str) -> OrderRole | None:
    """The role an id of ours was made for; None when it does not tell."""
    letter = client_id.rpartition("-")[2]
    return next((role for role, known in _ROLE_LETTER.items() if known == letter), None)


def child_id(proposal_id: ProposalId, ordinal: int) -> ProposalId:
    """The id of the ``ordinal``-th order that works one proposal; the first is the proposal itself."""
    return proposal_id if ordinal <= 1 else ProposalId(f"{proposal_id}{CHILD_MARK}{ordinal}")


def root_id(proposal_id: ProposalId) -> ProposalId:
    """The proposal a child belongs to."""
    return ProposalId(proposal_id.rpartition(CHILD_MARK)[0] or proposal_id)


def _digest(text: str, length: int) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()[:length]
