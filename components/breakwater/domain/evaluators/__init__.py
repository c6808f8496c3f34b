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

__all__ = ["EVALUATORS", "Breach", "EvaluationInput", "Evaluator", "evaluate"]


def evaluate(facts: EvaluationInput) -> tuple[list[Breach], str]:
    """Every limit that is reached, and which evaluator could not judge (empty: all could).

    One that fails must not blind the others; what it watches is unknown then, and unknown is closed to new risk.
    """
    breaches: list[Breach] = []
    problem = ""
    for evaluator in EVALUATORS:
        try:
            breach = evaluator.evaluate(facts)
        except Exception as error:  # noqa: BLE001  an evaluator may be a user's own code
            problem = problem or f"the evaluator of {evaluator.trigger} cannot judge: {error!r}"
            continue
        if breach is not None:
            breaches.append(breach)
    return breaches, problem
