"""The Dockerfile: two stages from one base, wheels alone, nobody's root, and the same numbers as chart and operator."""

from __future__ import annotations

import json
import re
import tomllib

import yaml
from tests.contract.image.recipe import DOCKERFILE, PROJECT, read

from breakwater_operator.desired.environment import HTTP_PORT
from breakwater_operator.desired.inputs import PodSecurity

ARGUMENTS, STAGES = read(DOCKERFILE.read_text())
BUILD, FINAL = STAGES
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]


def test_both_stages_come_from_the_base_image_that_the_builder_names() -> None:
    assert [stage.base for stage in STAGES] == ["${BASE_IMAGE}", "${BASE_IMAGE}"]
    assert list(ARGUMENTS) == ["BASE_IMAGE"]
    minor = re.search(r"(?m)^IMAGE_PYTHON \?= (\S+)$", (PROJECT / "Makefile").read_text())
    assert minor is not None
    assert ARGUMENTS["BASE_IMAGE"] == f"python:{minor[1]}-slim"
    assert PYPROJECT["requires-python"] == f">={minor[1]}"


def test_no_frontend_has_to_be_fetched() -> None:
    assert "syntax=" not in DOCKERFILE.read_text()


def test_build_takes_the_wheelhouse_and_asks_no_index() -> None:
    assert BUILD.one("COPY") == "build/wheelhouse /wheelhouse"
    command = BUILD.one("RUN")
    assert "--no-index --find-links /wheelhouse" in command
    assert not re.search(r"\b(apt|apt-get|apk|curl|wget|git|https?:)\b", command)
    assert command.count("pip --python") == command.count(" install ") == 1


def test_final_stage_runs_nothing_and_copies_only_what_was_built() -> None:
    assert FINAL.one("COPY") == "--from=build /opt/breakwater /opt/breakwater"
    words = {word for word, _ in FINAL.instructions}
    assert words == {"ARG", "LABEL", "COPY", "ENV", "USER", "WORKDIR", "EXPOSE", "STOPSIGNAL", "CMD"}


def test_image_runs_as_the_user_that_chart_and_operator_name() -> None:
    user, group = (int(part) for part in FINAL.one("USER").split(":"))
    values = yaml.safe_load((PROJECT / "helm" / "breakwater" / "values.yaml").read_text())["securityContext"]
    assert (user, group) == (values["runAsUser"], values["fsGroup"])
    assert (user, group) == (PodSecurity().run_as_user, PodSecurity().fs_group)
    assert user != 0


def test_image_has_no_entrypoint_and_stops_on_sigterm() -> None:
    assert FINAL.all("ENTRYPOINT") == []
    assert json.loads(FINAL.one("CMD")) == ["breakwater", "--help"]
    assert FINAL.one("STOPSIGNAL") == "SIGTERM"
    assert FINAL.one("EXPOSE") == str(HTTP_PORT)


def test_environment_suits_a_read_only_root_and_a_user_without_an_entry() -> None:
    environment = FINAL.environment()
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"
    assert environment["HOME"] == FINAL.one("WORKDIR") == "/tmp"
    assert environment["USER"]
    assert environment["PATH"].startswith("/opt/breakwater/bin:")


def test_nothing_in_the_recipe_looks_like_a_secret() -> None:
    for rest in (rest for stage in STAGES for word in ("ARG", "ENV", "LABEL", "COPY") for rest in stage.all(word)):
        assert not re.search(r"(?i)secret|token|password|_key", rest)


def test_labels_say_what_the_project_says_of_itself() -> None:
    label = FINAL.one("LABEL")
    assert f'org.opencontainers.image.description="{PYPROJECT["description"]}"' in label
    assert f'org.opencontainers.image.licenses="{PYPROJECT["license"]}"' in label
    assert f"VERSION={PYPROJECT['version']}" in FINAL.all("ARG")


def test_only_the_wheelhouse_is_sent_to_the_builder() -> None:
    lines = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines == ["*", "!build/wheelhouse"]
