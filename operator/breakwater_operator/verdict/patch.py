"""From one status to the next as a merge patch, and which of the differences are worth a write."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

FIGURES = frozenset(
    {"dailyDrawdownPct", "openLossPct", "consecutiveErrors", "equityUSD", "exposurePct", "openPositions", "fetchedAt"}
)
"""Fields of a status that move all the time: written at most every ten seconds. Everything else is written at once."""
_NUMBER = re.compile(r"[0-9]+(?:[.,:][0-9]+)*")


def status_patch(old: Mapping[str, Any], new: Mapping[str, Any], *, figures: bool = True) -> dict[str, Any] | None:
    """What a merge patch of ``status`` has to hold to make ``old`` into ``new``; None when nothing has to be written.

    A field that went away is None in it, lists are written whole. ``figures`` False: a difference in figures alone, or
    in nothing but the numbers within sentences (ages, amounts), is not worth a write; with any other difference all go.
    """
    changed: dict[str, Any] = {name: value for name, value in new.items() if name not in old or old[name] != value}
    changed |= {name: None for name in old if name not in new}
    if not changed or (not figures and all(_is_figure(name, old, new) for name in changed)):
        return None
    return changed


def _is_figure(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    if name in FIGURES:
        return True
    return name in old and name in new and without_numbers(old[name]) == without_numbers(new[name])


def without_numbers(value: Any) -> Any:
    """``value`` with the numbers in sentences left out. Names and times are no sentences: they hold no blank."""
    if isinstance(value, str):
        return _NUMBER.sub("#", value) if " " in value else value
    if isinstance(value, Mapping):
        return {key: without_numbers(inner) for key, inner in value.items()}
    return [without_numbers(inner) for inner in value] if isinstance(value, list | tuple) else value
