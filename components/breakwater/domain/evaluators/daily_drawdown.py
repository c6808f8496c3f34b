"""Loss since the day's baseline, open loss included, as a percentage of that baseline."""

from __future__ import annotations

from breakwater.domain.evaluators.base import Breach, EvaluationInput
from breakwater.domain.money import to_four_places
from breakwater.domain.stop_state import Trigger


class DailyDrawdown:
    trigger = Trigger.DAILY_DRAWDOWN
    debounced = True

    def evaluate(self, facts: EvaluationInput) -> Breach | None:
        limit = facts.rules.max_daily_drawdown_pct
        measured = facts.daily_drawdown_pct
        if facts.snapshot is None or measured < limit:
            return None
        text = f"daily drawdown {to_four_places(measured)} % reached the limit of {limit!s} %"
        return Breach(self.trigger, measured, limit, facts.rules.daily_drawdown_binding, text)


EVALUATOR = DailyDrawdown()
