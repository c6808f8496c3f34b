"""Invalid manifests, generated from the schema: the API server refuses each by its path, and no desk notices."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.cluster.desks.lab import PROJECT, Lab

KINDS = {"TradingPolicy": "tradingpolicies", "EmergencyStop": "emergencystops"}
BASE: dict[str, dict[str, Any]] = {
    "TradingPolicy": {"symbols": ["BTCUSDT"], "limits": {}, "venue": {"paper": {}}, "signals": {}, "day": {}},
    "EmergencyStop": {
        "policyRef": {"name": "nobody"},
        "onTrip": {},
        "onErrorTrip": {},
        "trip": {"requestID": "t1", "reason": "x"},
        "reset": {"requestID": "r1", "tripID": "x", "reason": "x"},
    },
}
Path_ = tuple[str, ...]


def _schema(kind: str) -> dict[str, Any]:
    crd = yaml.safe_load((PROJECT / "crds" / f"{KINDS[kind]}.yaml").read_text())
    spec: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return spec


def _leaves(schema: dict[str, Any], path: Path_ = ()) -> Iterator[tuple[Path_, dict[str, Any]]]:
    for name, inner in schema.get("properties", {}).items():
        if inner.get("type") == "object":
            yield from _leaves(inner, (*path, name))
        else:
            yield (*path, name), inner


def _wrong(schema: dict[str, Any]) -> Iterator[Any]:
    """Values that the schema of one field does not allow."""
    match schema["type"]:
        case "integer" | "number":
            yield from (schema["minimum"] - 1, schema["maximum"] + 1, "many")
        case "boolean":
            yield "maybe"
        case "string":
            yield 5
            if "enum" in schema:
                yield "Sideways"
            if "pattern" in schema:
                yield "%% not %%"
            if "maxLength" in schema:
                yield "a" * (schema["maxLength"] + 1)
        case "array":
            item = next(iter(schema["items"].get("enum", ["BTCUSDT"])))
            yield from ([item] * 2, [item] * (schema["maxItems"] + 1), [], "BTCUSDT", [5])
        case other:
            raise AssertionError(f"no wrong value is known for type {other}")


def _manifest(kind: str, path: Path_, value: Any) -> dict[str, Any]:
    spec = copy.deepcopy(BASE[kind])
    place = spec
    for name in path[:-1]:
        place = place.setdefault(name, {})
    place[path[-1]] = value
    body = {"apiVersion": "breakwater.trading/v1alpha1", "kind": kind, "metadata": {"name": "wrong"}}
    return {**body, "spec": spec}


@pytest.mark.parametrize("kind", list(KINDS))
def test_manifest_with_a_value_its_schema_forbids_is_refused_by_path(lab: Lab, namespace: str, kind: str) -> None:
    where = f"/apis/breakwater.trading/v1alpha1/namespaces/{namespace}/{KINDS[kind]}"
    strict = {"dryRun": "All", "fieldValidation": "Strict"}
    cases = [(path, value) for path, schema in _leaves(_schema(kind)) for value in _wrong(schema)]
    cases += [((*path[:-1], "noSuchField"), 1) for path, _ in _leaves(_schema(kind))]
    assert len(cases) > 40
    wrong = []
    with lab.admin_http() as api:
        good = api.post(
            where,
            params=strict,
            json=_manifest(kind, ("policyRef",), {"name": "x"})
            if kind == "EmergencyStop"
            else _manifest(kind, ("symbols",), ["BTCUSDT"]),
        )
        assert good.status_code == 201, good.text
        for path, value in cases:
            answer = api.post(where, params=strict, json=_manifest(kind, path, value))
            if answer.status_code not in (400, 422) or path[-1] not in answer.json()["message"]:
                wrong.append((".".join(path), value, answer.status_code, answer.text[:200]))
    assert not wrong, wrong
    assert lab.names(KINDS[kind], namespace) == set()
