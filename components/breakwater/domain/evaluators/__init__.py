"""Why the emergency stop fires by itself: one file per reason, all listed here, in the order that decides a tie."""

from __future__ import annotations

from breakwater.domain.evaluators.base import Breach, EvaluationInput, Evaluator
from breakwater.domain.evaluators.daily_drawdown import DailyDrawdown
from breakwater.domain.evaluators.execution_errors import ExecutionErrors
from breakwater.domain.evaluators.open_loss import OpenLoss

EVALUATORS: tuple[Evaluator, ...] = (DailyDrawdown(), OpenLoss(), ExecutionErrors())

__all__ = ["EVALUATORS", "Breach", "EvaluationInput", "Evaluator"]
