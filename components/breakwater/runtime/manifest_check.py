"""Holding one parsed document against a pydantic model, and saying in plain words what is wrong and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from breakwater.runtime import strict_yaml
from breakwater.runtime.manifest_errors import ManifestProblem

M = TypeVar("M", bound=BaseModel)


@dataclass
class Report:
    """Where problems are collected for one document."""

    file: str
    document: strict_yaml.Document
    problems: list[ManifestProblem]

    def add(self, path: str, problem: str, remedy: str = "") -> None:
        line, known = None, path
        while line is None:
            line = self.document.lines.get(known)
            if not known:
                break
            known = known.rpartition(".")[0] if "." in known else ""
        number = self.document.number or None
        self.problems.append(ManifestProblem(self.file, problem, remedy, path, number, line))


def overlaps(one: str, other: str) -> bool:
    """Whether one path is the other or lies under it."""
    return any(a == b or a.startswith((b + ".", b + "[")) for a, b in ((one, other), (other, one)))


def without(data: Any, path: str, wrong: set[str]) -> Any:
    """``data`` (which stands at ``path``) with the values at the paths in ``wrong`` left out."""
    if isinstance(data, dict):
        kept = ((key, strict_yaml.join(path, str(key)), value) for key, value in data.items())
        return {key: without(value, at, wrong) for key, at, value in kept if at not in wrong}
    if isinstance(data, list):
        return [without(v, f"{path}[{i}]", wrong) for i, v in enumerate(data) if f"{path}[{i}]" not in wrong]
    return data


def checked(model: type[M], data: Any, path: str, report: Report, kind: str) -> M | None:
    """``data`` as ``model``, or None with everything that is wrong with it added to ``report``."""
    empty = list(_nulls(data, path))
    for at in empty:
        report.add(at, "has no value", "give one, or remove the line")
    try:
        parsed = model.model_validate(without(data, path, set(empty)))
    except ValidationError as error:
        for each in error.errors(include_url=False):
            at = path
            for step in each["loc"]:
                at = f"{at}[{step}]" if isinstance(step, int) else strict_yaml.join(at, step)
            if not any(overlaps(at, known) for known in empty):
                _explain(each["type"], each["msg"], each.get("ctx", {}), at, each["input"], model, report, kind)
        return None
    return None if empty else parsed


def _nulls(data: Any, path: str) -> list[str]:
    if data is None:
        return [path]
    if isinstance(data, dict) and path != "metadata":
        return [at for key, value in data.items() for at in _nulls(value, strict_yaml.join(path, str(key)))]
    if isinstance(data, list):
        return [at for index, value in enumerate(data) for at in _nulls(value, f"{path}[{index}]")]
    return []


def _explain(
    error: str, message: str, context: Mapping[str, Any], path: str, value: Any, model: type[BaseModel],
    report: Report, kind: str,
) -> None:  # fmt: skip
    shown = repr(value if isinstance(value, str) else str(value))[:60]
    match error:
        case "missing":
            report.add(path, "is missing", "add it")
        case "extra_forbidden":
            known = _fields(model, "spec")
            siblings = [at for at in known if at.rpartition(".")[0] == path.rpartition(".")[0]]
            report.add(path, "is not a field of this resource", suggestion(path, siblings, kind, known))
        case "enum":
            report.add(
                path, f"{shown} is not allowed", f"use {context.get('expected', 'one of the documented values')}"
            )
        case "bool_type":
            report.add(path, f"{shown} is not true or false", "write true or false, without quotes")
        case "too_short" | "too_long":
            length = context.get("actual_length", "more")
            least, most = context.get("min_length"), context.get("max_length")
            report.add(
                path, f"has {length} entries", f"use at least {least}" if least is not None else f"use at most {most}"
            )
        case "model_type" | "model_attributes_type":
            report.add(path, f"{shown} is not a group of fields", "indent the fields under it")
        case "tuple_type":
            report.add(path, f"{shown} is not a list", "write it as [A, B]")
        case _:
            problem, _, remedy = message.partition("; ")
            report.add(path, problem, remedy)


def suggestion(path: str, siblings: list[str] | tuple[str, ...], kind: str, known: list[str] | None = None) -> str:
    name = path.rpartition(".")[2]
    names = {at.rpartition(".")[2].lower(): at.rpartition(".")[2] for at in siblings}
    near = difflib.get_close_matches(name.lower(), list(names), 1, 0.6)
    if near:
        return f"did you mean {names[near[0]]}?"
    elsewhere = [at for at in known or [] if at.rpartition(".")[2].lower() == name.lower()]
    if elsewhere:
        return f"it belongs at {elsewhere[0]}"
    return f"remove it; kubectl explain {kind.lower()}.spec lists the fields"


def _fields(model: type[BaseModel], path: str) -> list[str]:
    """The path of every field under ``model``."""
    found = []
    for field in model.model_fields.values():
        at = strict_yaml.join(path, field.alias or "")
        found.append(at)
        for inner in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                found += _fields(inner, at)
    return found
