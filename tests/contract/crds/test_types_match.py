"""The Python types and the schema say the same: names, types, bounds, patterns, enums, required, defaults, rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from breakwater.domain.emergency_stop_spec import EmergencyStopSpec
from breakwater.domain.limits import Binding
from breakwater.domain.policy import PolicySpec
from breakwater.domain.stop_head import StopHead
from breakwater.domain.stop_state import StopRequestKind, StopState, Trigger
from breakwater.runtime.manifest_models import EmergencyStopModel, TradingPolicyModel
from breakwater.runtime.manifest_rules import (
    POLICY_NAME_RULE,
    POLICY_RULES,
    POLICY_UPDATE_RULES,
    STOP_RULES,
    STOP_UPDATE_RULES,
)

MODELS: dict[str, type[BaseModel]] = {"TradingPolicy": TradingPolicyModel, "EmergencyStop": EmergencyStopModel}
DOMAIN: dict[str, type[msgspec.Struct]] = {"TradingPolicy": PolicySpec, "EmergencyStop": EmergencyStopSpec}
COMPARED = ("type", "minimum", "maximum", "minLength", "maxLength", "pattern", "enum", "minItems", "maxItems")
Schemas = dict[str, dict[str, Any]]


def plain_value(value: Any) -> Any:
    if isinstance(value, bool | None):
        return value
    if isinstance(value, int | float | Decimal):
        return Decimal(str(value)).normalize()
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value):
        return Decimal(value).normalize()
    return [plain_value(v) for v in value] if isinstance(value, list | tuple) else value


def facts(schema: dict[str, Any], path: str, definitions: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """One entry per field, from either side, in the same words."""
    outer = schema
    if "anyOf" in schema:
        (schema,) = [s for s in schema["anyOf"] if s.get("type") != "null"]
    while "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    found = {key: plain_value(schema[key]) for key in COMPARED if key in schema}
    if "enum" in found:
        found.pop("maxLength", None)
    default = outer.get("default")
    if default is not None and default != {}:
        found["default"] = plain_value(default)
    found["required"] = set(schema.get("required", []))
    yield path, found
    for name, inner in schema.get("properties", {}).items():
        yield from facts(inner, f"{path}.{name}", definitions)
    if "items" in schema:
        yield from facts(schema["items"], f"{path}[]", definitions)


@pytest.mark.parametrize("kind", list(MODELS))
def test_model_and_schema_state_the_same_fields(schemas: Schemas, kind: str) -> None:
    ours = MODELS[kind].model_json_schema(by_alias=True)
    left = dict(facts(ours, "spec", ours.get("$defs", {})))
    right = dict(facts(schemas[kind]["properties"]["spec"], "spec", {}))
    assert len(left) > 20
    assert set(left) == set(right)
    for path in left:
        assert left[path] == right[path], path


def materialised(model: type[BaseModel], schema: dict[str, Any], path: str) -> Iterator[tuple[str, bool, bool]]:
    for field in model.model_fields.values():
        inner = [a for a in (field.annotation, *getattr(field.annotation, "__args__", ())) if isinstance(a, type)]
        for each in inner:
            if issubclass(each, BaseModel):
                at = schema["properties"][str(field.alias)]
                yield f"{path}.{field.alias}", field.default_factory is not None, at.get("default") == {}
                yield from materialised(each, at, f"{path}.{field.alias}")


@pytest.mark.parametrize("kind", list(MODELS))
def test_groups_that_appear_by_themselves_are_the_same(schemas: Schemas, kind: str) -> None:
    groups = list(materialised(MODELS[kind], schemas[kind]["properties"]["spec"], "spec"))
    assert len(groups) >= 5
    assert [path for path, ours, theirs in groups if ours != theirs] == []


def domain_fields(struct: type[msgspec.Struct], path: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        at = f"{path}.{field.encode_name}"
        found[at] = None if field.default is msgspec.NODEFAULT else field.default
        kinds = [field.type, *getattr(field.type, "__args__", ())]
        for each in kinds:
            if isinstance(each, type) and issubclass(each, msgspec.Struct):
                found |= domain_fields(each, at)
    return found


@pytest.mark.parametrize("kind", list(MODELS))
def test_domain_type_has_the_fields_and_defaults_of_the_schema(schemas: Schemas, kind: str) -> None:
    theirs = dict(facts(schemas[kind]["properties"]["spec"], "spec", {}))
    ours = domain_fields(DOMAIN[kind], "spec")
    assert set(ours) == {path for path in theirs if path != "spec" and not path.endswith("[]")}
    for path, default in ours.items():
        if not isinstance(default, msgspec.Struct):
            assert plain_value(default) == theirs[path].get("default"), path


def spec_rules(schema: dict[str, Any], path: str) -> Iterator[tuple[str, str, str]]:
    for rule in schema.get("x-kubernetes-validations", []):
        yield path, (path + rule.get("fieldPath", "")).removeprefix("."), rule["message"]
    for name, inner in schema.get("properties", {}).items():
        if not (path == "" and name == "status"):
            yield from spec_rules(inner, f"{path}.{name}" if path else name)


def test_every_rule_of_the_schema_has_its_python_twin_with_the_same_message(schemas: Schemas) -> None:
    policy = {(r.scope, r.path, r.message) for r in POLICY_RULES}
    policy |= {(r.scope, r.path, r.message) for r in POLICY_UPDATE_RULES}
    # The API server takes no field path to metadata.name.
    assert set(spec_rules(schemas["TradingPolicy"], "")) == policy | {("", "", POLICY_NAME_RULE.message)}
    stop = {(r.scope, r.path, r.message) for r in STOP_RULES}
    stop |= {(r.scope, r.path, r.message) for r in STOP_UPDATE_RULES}
    assert set(spec_rules(schemas["EmergencyStop"], "")) == stop


def test_trigger_of_the_status_takes_what_the_domain_takes(schemas: Schemas) -> None:
    trigger = schemas["EmergencyStop"]["properties"]["status"]["properties"]["trigger"]

    def fits(name: str) -> bool:
        return len(name) <= trigger["maxLength"] and re.search(trigger["pattern"], name) is not None

    assert all(fits(each.value) and each.value in trigger["description"] for each in Trigger)
    for name in ("FUNDING_COST", "A" * 32, "A" * 33, "", "funding", "9LIVES", "A B"):
        try:
            assert fits(Trigger(name)), name
        except ValueError:
            assert not fits(name), name


def test_kept_head_of_the_status_has_the_fields_of_the_domain(schemas: Schemas) -> None:
    item = schemas["EmergencyStop"]["properties"]["status"]["properties"]["auditHeads"]["items"]
    assert list(item["properties"]) == item["required"] == [f.encode_name for f in msgspec.structs.fields(StopHead)]


def test_enums_of_the_status_are_those_of_the_domain(schemas: Schemas) -> None:
    stop = schemas["EmergencyStop"]["properties"]["status"]["properties"]
    policy = schemas["TradingPolicy"]["properties"]["status"]["properties"]
    assert stop["state"]["enum"] == policy["stopState"]["enum"] == [s.value for s in StopState]
    assert stop["auditHeads"]["items"]["properties"]["state"]["enum"] == [s.value for s in StopState]
    assert stop["requests"]["items"]["properties"]["kind"]["enum"] == [k.value for k in StopRequestKind]
    assert policy["limits"]["items"]["properties"]["binding"]["enum"] == [b.value for b in Binding]
