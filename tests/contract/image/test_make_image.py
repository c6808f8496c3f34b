"""`make image`: the first engine that works builds; where none does, that is said."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.contract.image.recipe import PROJECT

ENGINES = ("docker", "podman", "buildah")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with what `make image` looks at, and engines of which none works."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(PROJECT / name, tmp_path)
    (tmp_path / "build" / "wheelhouse").mkdir(parents=True)
    (tmp_path / "build" / "wheelhouse" / "breakwater-0.1.0-py3-none-any.whl").touch()
    (tmp_path / "bin").mkdir()
    for engine in ENGINES:
        write(tmp_path, engine, "exit 1")
    return tmp_path


def write(project: Path, engine: str, script: str) -> None:
    path = project / "bin" / engine
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def make(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    environment["PATH"] = f"{project / 'bin'}:{environment['PATH']}"
    return subprocess.run(
        ["make", "image", *arguments], cwd=project, env=environment, capture_output=True, text=True, check=False
    )


def test_no_working_engine_is_said_and_is_a_failure(project: Path) -> None:
    answer = make(project)
    assert answer.returncode != 0
    assert "no image was built: none of docker, podman and buildah works here" in answer.stderr


@pytest.mark.parametrize("engine", ENGINES)
def test_engine_that_works_builds_with_base_version_and_name(project: Path, engine: str) -> None:
    write(project, engine, 'echo "$@" >> calls')
    answer = make(project, "IMAGE=mine:7", "BASE_IMAGE=mirror/python:3.11-slim")
    assert answer.returncode == 0, answer.stderr
    asked, built = (project / "calls").read_text().splitlines()
    assert asked == "info"
    assert built.startswith("build -t mine:7 --build-arg BASE_IMAGE=mirror/python:3.11-slim --build-arg VERSION=0.1.0 ")


def test_failure_of_the_build_is_a_failure_of_make(project: Path) -> None:
    write(project, "docker", '[ "$1" = info ]')
    write(project, "podman", "touch podman-was-asked")
    assert make(project).returncode != 0
    assert not (project / "podman-was-asked").exists()


def test_missing_wheelhouse_is_said(project: Path) -> None:
    shutil.rmtree(project / "build")
    answer = make(project)
    assert answer.returncode != 0
    assert "run make wheelhouse first" in answer.stderr
