"""Why the emergency stop fires by itself: one file per reason. A further reason is one more file here, and nothing else.

Each file holds ``EVALUATOR``; they are found by being here. The order of their file names decides a tie.
"""

from __future__ import annotations

import importlib
import pkgutil

from breakwater.domain.evaluators.base import Breach, EvaluationInput, Evaluator

EVALUATORS: tuple[Evaluator, ...] = tuple(
    importlib.import_module(f"{__name__}.{name}").EVALUATOR
    for name in sorted(found.name for found in pkgutil.iter_modules(__path__))
    if name != "base"
)

__all__ = ["EVALUATORS", "Breach", "EvaluationInput", "Evaluator"]
