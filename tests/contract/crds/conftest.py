"""The two custom resource definitions, read from crds/."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import celpy
import jsonschema
import pytest
import yaml
from celpy import celtypes

CRDS = Path(__file__).parents[3] / "crds"
FILES = {"TradingPolicy": CRDS / "tradingpolicies.yaml", "EmergencyStop": CRDS / "emergencystops.yaml"}


@pytest.fixture(scope="session")
def crd_files() -> dict[str, Path]:
    return FILES


@pytest.fixture(scope="session")
def crds() -> dict[str, dict[str, Any]]:
    return {kind: yaml.safe_load(path.read_text()) for kind, path in FILES.items()}


@pytest.fixture(scope="session")
def schemas(crds: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {kind: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for kind, crd in crds.items()}


formats = jsonschema.FormatChecker(formats=())


@formats.checks("date-time", raises=ValueError)
def is_date_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


class ApiServer:
    """The API server's verdict on a resource: strict fields, defaults, the schema, then its CEL rules."""

    def __init__(self, schemas: dict[str, dict[str, Any]]) -> None:
        self._schemas = schemas
        self._strict = {
            kind: jsonschema.Draft202012Validator(_strict(schema), format_checker=formats)
            for kind, schema in schemas.items()
        }
        self._environment = celpy.Environment()
        self._programs: dict[str, Any] = {}

    def problems(self, resource: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
        kind = resource["kind"]
        resource = _defaulted(self._schemas[kind], resource)
        old = _defaulted(self._schemas[kind], old) if old is not None else None
        found = [error.message for error in self._strict[kind].iter_errors(resource)]
        return found or list(self._rules(self._schemas[kind], resource, old))

    def _rules(self, schema: dict[str, Any], value: Any, old: Any) -> Iterator[str]:
        for rule in schema.get("x-kubernetes-validations", []):
            names = {"self": _cel(schema, value)}
            if "oldSelf" in rule["rule"]:
                if old is None:
                    continue
                names["oldSelf"] = _cel(schema, old)
            if not self._evaluate(rule["rule"], names):
                yield rule.get("message") or str(self._evaluate(rule["messageExpression"], names))
        if isinstance(value, dict):
            for name, inner in schema.get("properties", {}).items():
                if name in value:
                    yield from self._rules(inner, value[name], (old or {}).get(name))
        if isinstance(value, list):
            for each in value:
                yield from self._rules(schema["items"], each, None)

    def _evaluate(self, expression: str, names: dict[str, Any]) -> Any:
        if expression not in self._programs:
            self._programs[expression] = self._environment.program(self._environment.compile(expression))
        return self._programs[expression].evaluate(names)


def _strict(schema: Any) -> Any:
    """kubectl's strict field validation: a field the schema does not know is refused."""
    if isinstance(schema, list):
        return [_strict(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed["additionalProperties"] = False
    return closed


def _defaulted(schema: dict[str, Any], value: Any) -> Any:
    if isinstance(value, dict) and "properties" in schema:
        filled = dict(value)
        for name, inner in schema["properties"].items():
            if "default" in inner:
                filled.setdefault(name, inner["default"])
            if name in filled:
                filled[name] = _defaulted(inner, filled[name])
        return filled
    return value


def _cel(schema: dict[str, Any], value: Any) -> Any:
    """``value`` in the type that its schema gives it: a JSON 5 in a number field is a double to the API server."""
    match schema.get("type"):
        case "object":
            inner = schema.get("properties", {})
            return celtypes.MapType({celtypes.StringType(k): _cel(inner.get(k, {}), v) for k, v in value.items()})
        case "array":
            return celtypes.ListType([_cel(schema["items"], v) for v in value])
        case "number":
            return celtypes.DoubleType(value)
        case "integer":
            return celtypes.IntType(int(value))
        case "boolean":
            return celtypes.BoolType(value)
        case _:
            return celtypes.StringType(value)


@pytest.fixture(scope="session")
def api_server(schemas: dict[str, dict[str, Any]]) -> ApiServer:
    return ApiServer(schemas)
