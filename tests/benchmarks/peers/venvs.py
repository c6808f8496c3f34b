"""Virtual environments for the programs we measure ourselves against, made on demand and outside the tree.

What goes into one is pinned with hashes in ``<name>.txt`` beside this file; the environment is named for that file, so a
new pin makes a new one and an old one is never half changed. ``BREAKWATER_PEER_PYTHON`` names a Python to use for a peer
that needs a newer one than ours.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.harness import NotMeasured

HERE = Path(__file__).resolve().parent
BUILD_SECONDS = 1200


class PeerUnavailable(NotMeasured):
    """The peer cannot be made on this machine; the text says why and what would help."""


@dataclass(frozen=True)
class PeerSpec:
    """A pinned program: ``<name>.txt`` are its requirements, ``oldest`` the first Python (minor of 3) it runs on."""

    name: str
    distribution: str
    oldest: int = 11

    @property
    def requirements(self) -> Path:
        return HERE / f"{self.name}.txt"

    @property
    def version(self) -> str:
        """As pinned."""
        found = re.search(rf"^{re.escape(self.distribution)}==(\S+)", self.requirements.read_text(), re.MULTILINE)
        if found is None:
            raise ValueError(f"{self.requirements} does not pin {self.distribution}")
        return found[1]


NAUTILUS = PeerSpec("nautilus", "nautilus-trader", oldest=12)
FREQTRADE = PeerSpec("freqtrade", "freqtrade")


def cache_dir() -> Path:
    """Where environments are kept: BREAKWATER_CACHE, else XDG_CACHE_HOME/breakwater, else ~/.cache/breakwater."""
    own = os.environ.get("BREAKWATER_CACHE")
    if own:
        return Path(own).absolute() / "peers"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "breakwater" / "peers"


def peer_python(spec: PeerSpec) -> Path:
    """The interpreter of the peer's environment, which is made first if it is not there. Raises PeerUnavailable."""
    base = _base_python(spec)
    key = hashlib.sha256(spec.requirements.read_bytes() + _version(base).encode()).hexdigest()[:16]
    home = cache_dir() / f"{spec.name}-{key}"
    python, finished = home / "bin" / "python", home / ".finished"
    with _locked(cache_dir() / f"{spec.name}.lock"):
        if not finished.exists():
            shutil.rmtree(home, ignore_errors=True)
            _say(f"making {spec.name} {spec.version} in {home} (once)")
            _make(spec, base, home, python)
            finished.touch()
    return python


def _make(spec: PeerSpec, base: str, home: Path, python: Path) -> None:
    # uv takes a fraction of pip's time and is among our tools; where it is missing pip does the same.
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv:
        steps = [
            [uv, "venv", "-q", "--python", base, str(home)],
            [uv, "pip", "install", "-q", "--require-hashes", "--python", str(python), "-r", str(spec.requirements)],
        ]
    else:
        steps = [
            [base, "-m", "venv", str(home)],
            [str(python), "-m", "pip", "install", "-q", "--require-hashes", "-r", str(spec.requirements)],
        ]
    for step in steps:
        try:
            done = subprocess.run(step, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS)
        except subprocess.TimeoutExpired:
            raise PeerUnavailable(f"{spec.name} was not installed within {BUILD_SECONDS} s") from None
        except OSError as error:
            raise PeerUnavailable(f"{spec.name} cannot be installed: {error}") from None
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
            raise PeerUnavailable(f"{spec.name} {spec.version} cannot be installed: {last}")


def _base_python(spec: PeerSpec) -> str:
    """A Python that the peer runs on: ours if it is new enough, else one that is named or found."""
    if sys.version_info >= (3, spec.oldest):
        return sys.executable
    tried: list[str] = []
    for candidate in _candidates(spec.oldest):
        version = _version(candidate)
        if version and tuple(map(int, version.split("."))) >= (3, spec.oldest):
            return candidate
        tried.append(candidate)
    raise PeerUnavailable(
        f"{spec.name} {spec.version} needs Python 3.{spec.oldest} or newer: install one, "
        "or name it with BREAKWATER_PEER_PYTHON" + (f" (tried {', '.join(tried)})" if tried else "")
    )


def _candidates(oldest: int) -> Iterator[str]:
    named = os.environ.get("BREAKWATER_PEER_PYTHON")
    if named:
        yield named
        return
    for minor in range(oldest, oldest + 4):
        if found := shutil.which(f"python3.{minor}"):
            yield found
        # Version managers keep interpreters that no PATH shows.
        yield from map(str, sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python")))


def _version(python: str) -> str:
    """``3.12``; empty for what is no working Python (shims of version managers answer, but run nothing)."""
    try:
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
