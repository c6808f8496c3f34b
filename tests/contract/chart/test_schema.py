"""values.schema.json: nothing misspelt or out of bounds is ever ignored, and what is refused is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.contract.chart.rendering import CHART, Object, template
from tests.contract.chart.values_doc import descriptions, leaves

from breakwater_operator.desired.components import NAMES

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
TEXT = (CHART / "values.yaml").read_text()
VALUES = yaml.safe_load(TEXT)
FREE_FORM = {"global"}


def resolved(schema: Any) -> Any:
    if "$ref" in schema:
        return SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]]
    return resolved(schema["allOf"][0]) if "allOf" in schema else schema


def maps(schema: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every map of the schema with its path."""
    schema = resolved(schema)
    if schema.get("type") == "object":
        yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from maps(inner, f"{path}.{name}" if path else name)
    if isinstance(schema.get("items"), dict):
        yield from maps(schema["items"], f"{path}[]")


def at(path: str) -> Object:
    """Values with something unknown added at ``path``."""
    found: Any = {"mistyped": 1}
    for key in reversed(path.split(".")) if path else ():
        found = {key: found}
    return dict(found)


def test_schema_and_values_have_the_same_fields() -> None:
    described = set(leaves(VALUES, descriptions(TEXT)))
    maps_of_values = {path for path, schema in maps(SCHEMA) if "properties" in schema}
    in_schema = {
        f"{path}.{name}" if path else name
        for path, schema in maps(SCHEMA)
        for name in schema.get("properties", {})
        if "[]" not in path
    }
    fields = {field for field in in_schema if field not in maps_of_values} - FREE_FORM
    # What lies inside a field that is set as a whole is Kubernetes' own.
    assert {field for field in fields if not any(field.startswith(f"{whole}.") for whole in described)} <= described
    assert {field for field in described if field not in in_schema} == set()


def test_every_value_is_described() -> None:
    described = descriptions(TEXT)
    assert [path for path in leaves(VALUES, described) if path not in described] == []


def test_no_map_takes_what_it_does_not_know() -> None:
    open_maps = {path for path, schema in maps(SCHEMA) if schema.get("additionalProperties") is not False} - FREE_FORM
    # Labels are free; the parts of an affinity are for the API server to check.
    assert [path for path in open_maps if not path.endswith(("Labels", "nnotations", "nodeSelector", "Affinity"))] == []


@pytest.mark.parametrize(
    "path",
    ["", "image", "securityContext", "crds", "operator", "operator.serviceAccount", "operator.service", "operator.resources",
     "operator.affinity", "desk", "desk.storage", "desk.resources", "desk.resources.execution", "redis", "redis.external",
     "valkey", "valkey.image", "valkey.storage", "valkey.networkPolicy"],
)  # fmt: skip
def test_unknown_value_is_refused_by_name(path: str) -> None:
    answer = template(at(path))
    assert answer.returncode != 0
    where = "/" + path.replace(".", "/") if path else ""
    assert f"at '{where}': additional properties 'mistyped' not allowed" in answer.stderr


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
        ({"image": {"repository": ""}}, "/image/repository"),
        ({"image": {"repository": "name:tag"}}, "/image/repository"),
        ({"image": {"repository": "UPPER"}}, "/image/repository"),
        ({"image": {"tag": 1.1}}, "/image/tag"),
        ({"image": {"tag": "a/b"}}, "/image/tag"),
        ({"image": {"digest": "sha256:short"}}, "/image/digest"),
        ({"imagePullSecrets": ["name"]}, "/imagePullSecrets/0"),
        ({"bindAddress": "localhost"}, "/bindAddress"),
        ({"bindAddress": "0.0.0.0 --protected-mode no"}, "/bindAddress"),
        ({"namespaces": ["a", "a"]}, "/namespaces"),
        ({"namespaces": ["*"]}, "/namespaces/0"),
        ({"securityContext": {"runAsUser": 0}}, "/securityContext/runAsUser"),
        ({"securityContext": {"fsGroup": "10001"}}, "/securityContext/fsGroup"),
        ({"crds": {"keep": "yes"}}, "/crds/keep"),
        ({"operator": {"logLevel": "loud"}}, "/operator/logLevel"),
        ({"operator": {"existingSecret": "No Name"}}, "/operator/existingSecret"),
        ({"operator": {"resources": {"limits": None}}}, "/operator/resources"),
        ({"operator": {"resources": {"limits": {"memory": "lots"}}}}, "/operator/resources/limits/memory"),
        ({"operator": {"podLabels": {"a": 1}}}, "/operator/podLabels/a"),
        ({"operator": {"tolerations": [{"effect": "Never"}]}}, "/operator/tolerations/0/effect"),
        ({"desk": {"storage": {"size": "0Gi"}}}, "/desk/storage/size"),
        ({"desk": {"storage": {"accessMode": "ReadOnlyMany"}}}, "/desk/storage/accessMode"),
        ({"desk": {"resources": {"execution": {"limits": {"memroy": "1Gi"}}}}}, "/desk/resources/execution/limits"),
        ({"desk": {"resources": {"execution": {"limits": {"cpu": -1}}}}}, "/desk/resources/execution/limits/cpu"),
        ({"redis": {"external": {"url": "http://redis"}}}, "/redis/external/url"),
        ({"redis": {"external": {"key": ""}}}, "/redis/external/key"),
        ({"valkey": {"maxMemory": "256 mb"}}, "/valkey/maxMemory"),
        ({"valkey": {"maxMemory": "0"}}, "/valkey/maxMemory"),
        ({"valkey": {"storage": {"className": "A B"}}}, "/valkey/storage/className"),
        ({"extraObjects": [1]}, "/extraObjects/0"),
        ({"fullnameOverride": "x" * 41}, "/fullnameOverride"),
    ],
)
def test_bad_value_is_refused_with_its_path(values: Object, path: str) -> None:
    answer = template(values)
    assert answer.returncode != 0
    assert f"at '{path}'" in answer.stderr


def test_every_component_can_be_given_resources_and_nothing_else_can() -> None:
    known = set(SCHEMA["properties"]["desk"]["properties"]["resources"]["properties"])
    assert known == {"default", *NAMES}


def test_values_of_a_parent_chart_are_no_obstacle() -> None:
    assert template({"global": {"anything": {"at": "all"}}}).returncode == 0
