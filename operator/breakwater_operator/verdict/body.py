"""Reading what the API server or a watch handed over: a missing or odd field is empty, never an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Body = Mapping[str, Any]
"""An object as the API server gave it."""


def section(body: object, *path: str) -> Mapping[str, Any]:
    """The mapping at ``path``; empty when there is none."""
    for key in path:
        body = body.get(key) if isinstance(body, Mapping) else None
    return body if isinstance(body, Mapping) else {}


def text(body: object, *path: str) -> str:
    """The text at ``path``; empty when there is none."""
    value = section(body, *path[:-1]).get(path[-1])
    return value if isinstance(value, str) else ""


def count(body: object, *path: str) -> int:
    """The whole number at ``path``; 0 when there is none."""
    value = section(body, *path[:-1]).get(path[-1])
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def entries(body: object, *path: str) -> list[Mapping[str, Any]]:
    """The mappings in the list at ``path``."""
    value = section(body, *path[:-1]).get(path[-1])
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list | tuple) else []


def name_of(body: object) -> str:
    return text(body, "metadata", "name")


def cut(sentence: str, longest: int) -> str:
    """``sentence`` in at most ``longest`` characters, the end marked when something was cut off."""
    return sentence if len(sentence) <= longest else sentence[: longest - 1] + "…"


def listed(names: Iterable[str]) -> str:
    """``a, b and c``."""
    *first, last = list(names) or [""]
    return f"{', '.join(first)} and {last}" if first else last
