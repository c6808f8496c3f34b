"""The tiny interface of an evaluator: facts in, breach or None out."""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

import msgspec

from breakwater.domain.snapshot import Snapshot
from breakwater.domain.stop_rules import StopRules
from breakwater.domain.stop_state import Trigger


class EvaluationInput(msgspec.Struct, frozen=True, gc=False):
    """Everything an evaluator may look at."""

    rules: StopRules
    snapshot: Snapshot | None
    daily_drawdown_pct: Decimal
    """The snapshot's, or measured from the equity a reset re-based on when the portfolio does not use it yet."""
    consecutive_errors: int


class Breach(msgspec.Struct, frozen=True, gc=False):
    """A limit is reached. ``measured`` and ``limit`` in the evaluator's own unit; None when it has no number."""

    trigger: Trigger
    measured: Decimal | None
    limit: Decimal | None
    binding: str
    text: str


class Evaluator(Protocol):
    """One reason to stop. A further one is one file here that holds it as ``EVALUATOR``; its trigger may be a new one."""

    @property
    def trigger(self) -> Trigger: ...

    @property
    def debounced(self) -> bool:
        """Whether a second snapshot has to confirm it (measurements), or one evaluation is enough (counted facts)."""
        ...

    def evaluate(self, facts: EvaluationInput) -> Breach | None:
        """The breach, if the limit is reached: exactly at the limit counts."""
        ...
