"""Commands in a row whose final outcome was an execution error, desk-wide; an accepted entry zeroes the count."""

from __future__ import annotations

from decimal import Decimal

from breakwater.domain.evaluators.base import Breach, EvaluationInput
from breakwater.domain.stop_state import Trigger


class ExecutionErrors:
    trigger = Trigger.EXECUTION_ERRORS
    debounced = False

    def evaluate(self, facts: EvaluationInput) -> Breach | None:
        limit = facts.rules.max_consecutive_errors
        if facts.consecutive_errors < limit:
            return None
        return Breach(
            trigger=self.trigger,
            measured=Decimal(facts.consecutive_errors),
            limit=Decimal(limit),
            binding="emergencyStop",
            text=f"{facts.consecutive_errors} execution errors in a row reached the limit of {limit}",
        )


EVALUATOR = ExecutionErrors()
