"""What the image will hold, without an engine: the Dockerfile's own command, run on a fresh wheelhouse into a directory."""

from __future__ import annotations

import importlib.metadata
import os
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.contract.image.recipe import DOCKERFILE, PROJECT, read

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

BUILD, FINAL = read(DOCKERFILE.read_text())[1]
USER = int(FINAL.one("USER").split(":")[0])


class Image:
    """A directory in the place of /opt/breakwater."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.wheelhouse = PROJECT / "build" / "wheelhouse"

    def build(self) -> None:
        """`make wheelhouse`, then the RUN of the Dockerfile with the paths of this machine."""
        minor = f"{sys.version_info.major}.{sys.version_info.minor}"
        made = subprocess.run(
            ["make", "wheelhouse", f"IMAGE_PYTHON={minor}"], cwd=PROJECT, capture_output=True, text=True, check=False
        )
        assert made.returncode == 0, made.stderr
        # The base image's python, which has a pip: nothing of this environment may leak in.
        bin_dir = self.root.parent / "base" / "bin"
        bin_dir.mkdir(parents=True)
        base = Path(sys.base_prefix) / "bin" / f"python{minor}"
        (bin_dir / "python").write_text(f'#!/bin/sh\nexec "{base}" "$@"\n')
        (bin_dir / "python").chmod(0o755)
        command = (
            BUILD.one("RUN").replace("/opt/breakwater", str(self.root)).replace("/wheelhouse", str(self.wheelhouse))
        )
        environment = {"PATH": f"{bin_dir}:/usr/bin:/bin", "HOME": str(self.root.parent), "PIP_CONFIG_FILE": os.devnull}
        ran = subprocess.run(["sh", "-ec", command], env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """As a pod would: the image's environment alone, and where that is possible the image's user."""
        environment = {k: v.replace("/opt/breakwater", str(self.root)) for k, v in FINAL.environment().items()}
        program = str(self.root / "bin" / command[0])
        return subprocess.run(
            [*as_user(), program, *command[1:]],
            env={**environment, **variables},
            cwd="/tmp",
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def packages(self) -> Path:
        (found,) = (self.root / "lib").glob("python3.*/site-packages")
        return found


def as_user() -> list[str]:
    """The image's user, who may read everything here (Python may lie in a home directory) and write nothing of ours."""
    setpriv = shutil.which("setpriv") if os.geteuid() == 0 else None
    if setpriv is None:
        return []
    rights = "-all,+dac_read_search"
    return [
        setpriv,
        f"--reuid={USER}",
        f"--regid={USER}",
        "--clear-groups",
        f"--inh-caps={rights}",
        f"--ambient-caps={rights}",
    ]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    found = Image(tmp_path_factory.mktemp("image") / "opt")
    found.build()
    return found


def pins() -> dict[str, str]:
    text = (PROJECT / "requirements" / "image.txt").read_text()
    return {normal(name): version for name, version in re.findall(r"(?m)^([\w.-]+)==([^\s;\\]+)", text)}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(image: Image) -> dict[str, str]:
    return {normal(d.metadata["Name"]): d.version for d in importlib.metadata.distributions(path=[str(image.packages)])}


@pytest.mark.parametrize("command", ["breakwater", "breakwater-operator"])
def test_commands_of_the_pods_are_there(image: Image, command: str) -> None:
    answer = image.run(command, "--help")
    assert answer.returncode == 0, answer.stderr
    assert "Usage" in answer.stdout


def test_store_is_in_the_image(image: Image) -> None:
    answer = image.run("valkey-server", "--version")
    assert answer.returncode == 0, answer.stderr
    assert "Valkey server" in answer.stdout


def test_definitions_and_profiles_are_in_the_wheel(image: Image) -> None:
    for folder, inside in (("crds", "_crds"), ("profiles", "_profiles")):
        for path in (PROJECT / folder).glob("*.yaml"):
            assert (image.packages / "breakwater" / inside / path.name).read_bytes() == path.read_bytes()


def test_operator_without_settings_says_what_is_missing(image: Image) -> None:
    answer = image.run("breakwater-operator", "run")
    assert answer.returncode == 2
    assert "BREAKWATER_OPERATOR_KEY_FILE" in answer.stderr


def test_component_without_settings_says_what_is_missing(image: Image) -> None:
    answer = image.run("breakwater", "run", "execution")
    assert answer.returncode == 2
    assert "REDIS_URL" in answer.stderr


def test_everything_installed_is_pinned_and_nothing_builds_or_installs(image: Image) -> None:
    found = installed(image)
    pinned = pins()
    assert {name: version for name, version in found.items() if pinned.get(name) != version} == {
        "breakwater": importlib.metadata.version("breakwater")
    }
    assert not {"pip", "setuptools", "wheel", "hatchling", "editables"} & set(found)


def test_installed_packages_fit_together(image: Image) -> None:
    command = [sys.executable, "-m", "pip", "--python", str(image.root / "bin" / "python"), "check"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout


def test_running_writes_nothing_into_the_image(image: Image) -> None:
    def listing() -> set[tuple[str, int]]:
        return {(str(path), path.stat().st_mtime_ns) for path in image.root.rglob("*")}

    before = listing()
    image.run("breakwater", "--help")
    image.run("breakwater-operator", "--help")
    assert listing() == before


def test_all_our_code_is_compiled_and_checked_neither_by_time_nor_by_hash(image: Image) -> None:
    for package in ("breakwater", "breakwater_operator"):
        sources = list((image.packages / package).rglob("*.py"))
        assert sources
        for source in sources:
            (compiled,) = (source.parent / "__pycache__").glob(f"{source.stem}.*.pyc")
            assert int.from_bytes(compiled.read_bytes()[4:8], "little") == 0b01, "hash-based, not checked at run time"


def test_user_without_an_entry_has_a_name_and_a_home(image: Image) -> None:
    with pytest.raises(KeyError):
        pwd.getpwuid(USER)
    answer = image.run("python", "-c", "import getpass, pathlib; print(getpass.getuser(), pathlib.Path.home())")
    assert answer.stdout.split() == ["breakwater", "/tmp"], answer.stderr
