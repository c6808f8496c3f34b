"""Net unrealised loss as a percentage of the wallet balance."""

from __future__ import annotations

from breakwater.domain.evaluators.base import Breach, EvaluationInput
from breakwater.domain.money import to_four_places
from breakwater.domain.stop_state import Trigger


class OpenLoss:
    trigger = Trigger.OPEN_LOSS
    debounced = True

    def evaluate(self, facts: EvaluationInput) -> Breach | None:
        limit = facts.rules.max_open_loss_pct
        if facts.snapshot is None or facts.snapshot.open_loss_pct < limit:
            return None
        measured = facts.snapshot.open_loss_pct
        text = f"open loss {to_four_places(measured)} % of the wallet reached the limit of {limit!s} %"
        return Breach(self.trigger, measured, limit, facts.rules.open_loss_binding, text)


EVALUATOR = OpenLoss()
