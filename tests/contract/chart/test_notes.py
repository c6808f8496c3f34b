"""What helm prints after an install names what is really there; the README's table is that of values.yaml."""

from __future__ import annotations

import json
import re

from tests.contract.chart.rendering import CHART, PROJECT, Object, helm, rendered
from tests.contract.chart.values_doc import table

from breakwater_operator.desired.labels import component_name, secret_name


def notes(values: Object, release: str = "breakwater") -> str:
    arguments = ("install", release, str(CHART), "-n", "breakwater-system", "--dry-run=client", "-f", "-")
    answer = helm(*arguments, stdin=json.dumps(values))
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.partition("\nNOTES:\n")[2]


def test_notes_name_the_release_the_operator_and_the_desks_objects() -> None:
    text = notes({})
    assert "helm test breakwater --namespace breakwater-system" in text
    names = {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in rendered("defaults")}
    assert re.findall(r"\bdeployment/[-\w]+", text) == ["deployment/breakwater-operator"]
    assert "deployment/breakwater-operator" in names
    assert f"service/{component_name('main', 'dashboard')}" in text
    assert f"secret {secret_name('main')} " in text
    assert "profiles/normal.yaml" in text
    assert (PROJECT / "profiles" / "normal.yaml").exists()


def test_notes_say_how_to_trip_and_reset_with_valid_patches() -> None:
    text = notes({})
    trip = re.search(r"-p '(\{\"spec\":\{\"trip\".*?)'\n", text)
    reset = re.search(r"-p \"(\{\\\"spec\\\":\{\\\"reset\\\".*?)\"\n", text)
    assert trip is not None
    assert reset is not None
    assert set(json.loads(trip[1])["spec"]["trip"]) == {"requestID", "reason"}
    assert set(json.loads(reset[1].replace('\\"', '"'))["spec"]["reset"]) == {"requestID", "tripID", "reason"}


def test_notes_follow_the_name_of_the_release() -> None:
    assert "deployment/mine-breakwater-operator" in notes({}, release="mine")


def test_notes_warn_of_what_is_unsafe_and_only_of_that() -> None:
    assert "WARNING" not in notes({})
    assert "crds.keep is false" in notes({"crds": {"keep": False}})
    assert "crds.enabled is false" in notes({"crds": {"enabled": False}})


def test_notes_say_whose_desks_are_run_and_what_an_uninstall_takes_away() -> None:
    assert "desks in every namespace" in notes({})
    assert "in the namespaces desk-a, desk-b" in notes({"namespaces": ["desk-a", "desk-b"]})
    assert "removes the operator and the store" in notes({})
    assert "removes the operator." in notes({"redis": {"external": {"url": "redis://mine"}}})


def test_notes_fit_on_a_screen() -> None:
    assert len(notes({}).splitlines()) <= 30


def test_readme_has_the_table_of_values() -> None:
    readme = (CHART / "README.md").read_text().splitlines()
    start = readme.index("## Values") + 2
    assert readme[start:] == table(), "print it with: python -m tests.contract.chart.values_doc"
