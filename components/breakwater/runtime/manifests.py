"""Reading TradingPolicy and EmergencyStop manifests: YAML or objects in, domain types out, every problem at once.

Same verdicts as the API server with crds/*.yaml (strict field validation), plus what it cannot see: that both
resources of a desk are there and belong together.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
from pydantic import BaseModel, ValidationError

from breakwater.domain.emergency_stop_spec import EmergencyStopSpec
from breakwater.domain.policy import LimitOverrides, PolicySpec
from breakwater.runtime import strict_yaml
from breakwater.runtime.manifest_check import Report, checked, overlaps, suggestion, without
from breakwater.runtime.manifest_errors import ManifestError, ManifestProblem
from breakwater.runtime.manifest_models import EmergencyStopModel, ObjectName, SpecModel, TradingPolicyModel
from breakwater.runtime.manifest_rules import POLICY_NAME_RULE, POLICY_RULES, STOP_RULES, Rule

__all__ = [
    "API_VERSION",
    "POLICY_KIND",
    "STOP_KIND",
    "DeskManifests",
    "ManifestError",
    "ManifestProblem",
    "PolicyManifest",
    "Source",
    "StopManifest",
    "load_manifests",
    "load_policy",
    "load_stop",
    "policy_from_object",
    "stop_from_object",
]

API_VERSION = "breakwater.trading/v1alpha1"
POLICY_KIND = "TradingPolicy"
STOP_KIND = "EmergencyStop"

Source = str | Path
"""A Path is a file to read; a str is the manifest's text itself."""

_TOP_LEVEL = ("apiVersion", "kind", "metadata", "spec", "status")


@dataclass(frozen=True)
class PolicyManifest:
    name: str
    namespace: str
    spec: PolicySpec


@dataclass(frozen=True)
class StopManifest:
    name: str
    namespace: str
    spec: EmergencyStopSpec


M = TypeVar("M", PolicyManifest, StopManifest)


@dataclass(frozen=True)
class DeskManifests:
    """Both resources of one desk; the stop refers to the policy."""

    policy: PolicyManifest
    stop: StopManifest


class _NameModel(BaseModel):
    name: ObjectName
    namespace: ObjectName = "default"


def load_manifests(*sources: Source) -> DeskManifests:
    """The desk that ``sources`` together describe: exactly one TradingPolicy and one EmergencyStop. Raises ManifestError."""
    policies, stops, problems, met = _load(sources)
    for kind in (POLICY_KIND, STOP_KIND):
        # A file that could not be read, or a misspelt kind, may well be the one that is missed here.
        if kind not in met and "?" not in met:
            wrong = f"no {kind} found"
            problems.append(ManifestProblem(_names(sources), wrong, "add its document, or give its file as well"))
    if not problems:
        policy, stop = policies[0], stops[0]
        if stop.spec.policy_ref.name != policy.name:
            wrong = f"is {stop.spec.policy_ref.name!r}, but the TradingPolicy is named {policy.name!r}"
            problems.append(ManifestProblem(_names(sources), wrong, "give both the same name", "spec.policyRef.name"))
        if stop.namespace != policy.namespace:
            wrong = f"is {stop.namespace!r}, but the TradingPolicy's is {policy.namespace!r}"
            problems.append(ManifestProblem(_names(sources), wrong, "put both into one", "metadata.namespace"))
    if problems:
        raise ManifestError(problems)
    return DeskManifests(policies[0], stops[0])


def load_policy(source: Source) -> PolicyManifest:
    """The one TradingPolicy in ``source``; an EmergencyStop beside it is checked and left. Raises ManifestError."""
    policies, _, problems, _ = _load((source,))
    return _only(policies, POLICY_KIND, source, problems)


def load_stop(source: Source) -> StopManifest:
    """The one EmergencyStop in ``source``; a TradingPolicy beside it is checked and left. Raises ManifestError."""
    _, stops, problems, _ = _load((source,))
    return _only(stops, STOP_KIND, source, problems)


def policy_from_object(data: Mapping[str, Any], source: str = POLICY_KIND) -> PolicyManifest:
    """A TradingPolicy given as parsed JSON, for example by the API server. Raises ManifestError."""
    manifest = _one_object(data, source)
    if not isinstance(manifest, PolicyManifest):
        raise ManifestError([ManifestProblem(source, f"is not a {POLICY_KIND}", f"set kind: {POLICY_KIND}", "kind")])
    return manifest


def stop_from_object(data: Mapping[str, Any], source: str = STOP_KIND) -> StopManifest:
    """An EmergencyStop given as parsed JSON, for example by the API server. Raises ManifestError."""
    manifest = _one_object(data, source)
    if not isinstance(manifest, StopManifest):
        raise ManifestError([ManifestProblem(source, f"is not an {STOP_KIND}", f"set kind: {STOP_KIND}", "kind")])
    return manifest


def _one_object(data: Mapping[str, Any], source: str) -> PolicyManifest | StopManifest:
    report = Report(source, strict_yaml.Document(0, dict(data)), [])
    manifest = _manifest(report)
    if manifest is None or report.problems:
        raise ManifestError(report.problems)
    return manifest


def _only(found: list[M], kind: str, source: Source, problems: list[ManifestProblem]) -> M:
    if not found and not problems:
        problems.append(ManifestProblem(_names((source,)), f"no {kind} found", f"add a document with kind: {kind}"))
    if problems:
        raise ManifestError(problems)
    return found[0]


def _names(sources: tuple[Source, ...]) -> str:
    return ", ".join(str(source) if isinstance(source, Path) else "the text given" for source in sources)


def _load(
    sources: tuple[Source, ...],
) -> tuple[list[PolicyManifest], list[StopManifest], list[ManifestProblem], set[str]]:
    """Valid resources, problems, and the kinds that were met, valid or not ("?": something of unknown kind)."""
    policies: list[PolicyManifest] = []
    stops: list[StopManifest] = []
    problems: list[ManifestProblem] = []
    first: dict[str, str] = {}
    unknown = False
    for source in sources:
        file = _names((source,))
        try:
            documents = strict_yaml.read_documents(_content(source))
        except strict_yaml.YamlProblem as error:
            problems.append(
                ManifestProblem(file, error.problem, error.remedy, document=error.document, line=error.line)
            )
            unknown = True
            continue
        except OSError as error:
            reason = error.strerror or str(error)
            problems.append(ManifestProblem(file, f"cannot be read: {reason}", "check the path and its permissions"))
            unknown = True
            continue
        if not documents:
            problems.append(ManifestProblem(file, "holds no document", f"write a {POLICY_KIND} or {STOP_KIND} into it"))
        for document in documents:
            report = Report(file, document, problems)
            kind = document.data.get("kind") if isinstance(document.data, dict) else None
            if isinstance(kind, str) and kind in (POLICY_KIND, STOP_KIND):
                here = f"{file}, document {document.number}"
                if kind in first:
                    report.add("kind", f"is a second {kind} (the first is in {first[kind]})", "keep one of the two")
                first.setdefault(kind, here)
            else:
                unknown = True
            manifest = _manifest(report)
            if isinstance(manifest, PolicyManifest):
                policies.append(manifest)
            elif manifest is not None:
                stops.append(manifest)
    return policies, stops, problems, {*first, *({"?"} if unknown else ())}


def _content(source: Source) -> bytes | str:
    if isinstance(source, str):
        return source
    with source.open("rb") as file:
        # One byte more than is allowed is enough to know that it is too long.
        return file.read(strict_yaml.MOST_BYTES + 1)


def _manifest(report: Report) -> PolicyManifest | StopManifest | None:
    data = report.document.data
    if not isinstance(data, dict):
        report.add("", "is not a resource", f"start it with apiVersion: {API_VERSION}")
        return None
    kind = data.get("kind")
    if kind not in (POLICY_KIND, STOP_KIND):
        near = difflib.get_close_matches(str(kind), (POLICY_KIND, STOP_KIND), 1)
        remedy = f"did you mean {near[0]}?" if near else f"use {POLICY_KIND} or {STOP_KIND}"
        report.add("kind", "is missing" if kind is None else f"{str(kind)[:60]!r} is not known here", remedy)
        return None
    before = len(report.problems)
    if data.get("apiVersion") != API_VERSION:
        report.add("apiVersion", f"is {str(data.get('apiVersion'))[:60]!r}", f"write apiVersion: {API_VERSION}")
    for name in data:
        if name not in _TOP_LEVEL:
            report.add(name, "is not a field of this resource", suggestion(name, _TOP_LEVEL, kind))
    named = checked(_NameModel, data.get("metadata", {}), "metadata", report, kind)
    if kind == POLICY_KIND and named is not None and not POLICY_NAME_RULE.holds(named.name):
        report.add("metadata.name", "breaks a rule", POLICY_NAME_RULE.message)
    model: type[SpecModel] = TradingPolicyModel if kind == POLICY_KIND else EmergencyStopModel
    spec = _spec(model, data.get("spec", {}), report, kind)
    if spec is None or named is None or len(report.problems) > before:
        return None
    if isinstance(spec, PolicySpec):
        return PolicyManifest(named.name, named.namespace, spec)
    return StopManifest(named.name, named.namespace, spec)


def _spec(model: type[SpecModel], data: Any, report: Report, kind: str) -> PolicySpec | EmergencyStopSpec | None:
    before = len(report.problems)
    parsed = checked(model, data, "spec", report, kind)
    wrong = tuple(problem.path for problem in report.problems[before:])
    if parsed is None:
        # What is right by itself is still held against the rules between fields, to report everything at once.
        try:
            parsed = model.model_validate(without(data, "spec", set(wrong)))
        except ValidationError:
            return None
    spec = _domain(parsed)
    rules = cast(tuple[Rule[Any], ...], POLICY_RULES if isinstance(spec, PolicySpec) else STOP_RULES)
    for rule in rules:
        asked = not any(overlaps(path, read) for path in wrong for read in rule.reads)
        if asked and not rule.holds(spec):
            report.add(rule.path, "breaks a rule", rule.message)
    return spec


def _domain(parsed: BaseModel) -> PolicySpec | EmergencyStopSpec:
    values = parsed.model_dump(by_alias=True)
    if isinstance(parsed, TradingPolicyModel):
        values["limits"] = values["limits"] or LimitOverrides()
        return msgspec.convert(values, PolicySpec)
    return msgspec.convert(values, EmergencyStopSpec)
