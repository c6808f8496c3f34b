"""One source of the resource definitions: crds/. The chart and its package carry the same, as real files."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import yaml
from tests.contract.chart.rendering import CHART, PROJECT, helm, render, rendered

CRDS = {path.name: yaml.safe_load(path.read_text()) for path in sorted((PROJECT / "crds").glob("*.yaml"))}


def definitions(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for each in objects if each["kind"] == "CustomResourceDefinition"]


def test_rendered_definitions_are_those_of_crds() -> None:
    found = definitions(rendered("defaults"))
    assert [each["metadata"]["name"] for each in found] == [crd["metadata"]["name"] for crd in CRDS.values()]
    for ours, source in zip(found, CRDS.values(), strict=True):
        assert ours["spec"] == source["spec"]
        assert source["metadata"].items() <= {**ours["metadata"], **source["metadata"]}.items()


def test_definitions_are_kept_on_uninstall_unless_told_otherwise() -> None:
    for each in definitions(rendered("defaults")):
        assert each["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    for each in definitions(render({"crds": {"keep": False}})):
        assert "annotations" not in each["metadata"]


def test_definitions_can_be_left_out() -> None:
    assert definitions(rendered("no-crds")) == []


def test_chart_holds_no_copy_of_the_definitions() -> None:
    assert (CHART / "crdfiles").is_symlink()
    assert (CHART / "crdfiles").resolve() == PROJECT / "crds"


def test_package_carries_the_definitions_as_files_and_renders_the_same(tmp_path: Path) -> None:
    answer = helm("package", str(CHART), "-d", str(tmp_path))
    assert answer.returncode == 0, answer.stderr
    (archive,) = tmp_path.glob("breakwater-*.tgz")
    with tarfile.open(archive) as package:
        for name in CRDS:
            member = package.getmember(f"breakwater/crdfiles/{name}")
            assert member.isreg()
            content = package.extractfile(member)
            assert content is not None
            assert content.read() == (PROJECT / "crds" / name).read_bytes()
        names = package.getnames()
    assert {"breakwater/README.md", "breakwater/values.schema.json", "breakwater/templates/NOTES.txt"} <= set(names)
    answer = helm("template", "breakwater", str(archive), "-n", "breakwater-system")
    assert answer.returncode == 0, answer.stderr
    packed = [each for each in yaml.safe_load_all(answer.stdout) if each]
    assert definitions(packed) == definitions(rendered("defaults"))


def test_lint_finds_nothing() -> None:
    answer = helm("lint", "--strict", str(CHART))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "WARNING" not in answer.stdout
