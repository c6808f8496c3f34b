"""What every field of the custom resources must have: text, bounds, and no default where a profile speaks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

KINDS = ["TradingPolicy", "EmergencyStop"]
Schemas = dict[str, dict[str, Any]]


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, inner in schema.get("properties", {}).items():
        at = f"{path}.{name}" if path else name
        if at == "metadata":  # the API server allows nothing but its type there
            continue
        yield at, inner
        yield from fields(inner, at)
    if "items" in schema:
        yield f"{path}[]", schema["items"]
        yield from fields(schema["items"], f"{path}[]")


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_described_in_whole_sentences(schemas: Schemas, kind: str) -> None:
    found = dict(fields(schemas[kind]))
    assert len(found) > 40
    assert schemas[kind]["description"]
    bad = [
        at for at, s in found.items() if not s.get("description", "").endswith((".", ").")) or len(s["description"]) < 8
    ]
    assert bad == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_text_and_list_is_bounded(schemas: Schemas, kind: str) -> None:
    unbounded = []
    for at, s in fields(schemas[kind]):
        match s["type"]:
            case "number" | "integer":
                if not ("minimum" in s and "maximum" in s and s["minimum"] < s["maximum"]):
                    unbounded.append(at)
            case "string":
                if "enum" not in s and "maxLength" not in s:
                    unbounded.append(at)
            case "array":
                if "maxItems" not in s:
                    unbounded.append(at)
            case "object":
                assert "additionalProperties" not in s, at
                assert "x-kubernetes-preserve-unknown-fields" not in s, at
    assert unbounded == []


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_the_spec_give_a_unit_in_name_or_text(schemas: Schemas, kind: str) -> None:
    unit = re.compile(
        r"USDT|percent|seconds|milliseconds|minutes|times|[Ff]actor|[Cc]onfidence|signal|in a row|at once"
    )
    numbers = [(at, s) for at, s in fields(schemas[kind]["properties"]["spec"]) if s["type"] in ("number", "integer")]
    assert numbers
    assert [at for at, s in numbers if not unit.search(s["description"])] == []


def test_no_overridable_limit_has_a_default(schemas: Schemas) -> None:
    spec = schemas["TradingPolicy"]["properties"]["spec"]["properties"]
    assert "default" not in spec["limits"]
    assert len(spec["limits"]["properties"]) == 14
    assert [name for name, s in spec["limits"]["properties"].items() if "default" in s] == []


@pytest.mark.parametrize(("kind", "short"), [("TradingPolicy", "tp"), ("EmergencyStop", "estop")])
def test_resource_has_its_names_status_and_columns(crds: Schemas, kind: str, short: str) -> None:
    spec = crds[kind]["spec"]
    (version,) = spec["versions"]
    assert (spec["group"], version["name"], spec["scope"]) == ("breakwater.trading", "v1alpha1", "Namespaced")
    assert (spec["names"]["shortNames"], spec["names"]["categories"]) == ([short], ["trading"])
    assert version["subresources"] == {"status": {}}
    shown = [c for c in version["additionalPrinterColumns"] if not c.get("priority")]
    assert 5 <= len(shown) <= 7
    names = [c["name"] for c in version["additionalPrinterColumns"]]
    assert len(set(names)) == len(names)
    status = version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    assert {"observedGeneration", "conditions"} <= set(status)


@pytest.mark.parametrize("kind", KINDS)
def test_every_column_shows_a_field_of_the_schema(crds: Schemas, schemas: Schemas, kind: str) -> None:
    known = {at for at, _ in fields(schemas[kind])} | {"metadata.creationTimestamp"}
    for column in crds[kind]["spec"]["versions"][0]["additionalPrinterColumns"]:
        path = re.sub(r"\[\?\(.*?\)\]", "[]", column["jsonPath"].removeprefix("."))
        assert path in known, column["name"]
        assert column["description"]


@pytest.mark.parametrize("kind", KINDS)
def test_file_stays_below_sixty_kilobytes(crd_files: dict[str, Path], kind: str) -> None:
    assert crd_files[kind].stat().st_size < 60_000


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_has_a_message_for_people(schemas: Schemas, kind: str) -> None:
    rules = [
        rule for _, s in [("", schemas[kind]), *fields(schemas[kind])] for rule in s.get("x-kubernetes-validations", [])
    ]
    assert len(rules) >= 6
    assert [r["rule"] for r in rules if not (r.get("message") or r.get("messageExpression"))] == []
