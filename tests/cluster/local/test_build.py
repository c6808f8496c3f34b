"""The cache of programs: what is in it is whole, made once, and a failure says what to do. `go` is a script here."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.cluster.local import build, local_cluster
from tests.cluster.local.processes import ClusterError
from tests.cluster.local.programs import NAMES

GO_BUILDS = """\
#!/bin/sh
if [ "$1" = version ]; then echo "go version go1.26.8 linux/amd64"; exit 0; fi
echo built >> "{count}"
while [ "$1" != -o ]; do shift; done
for name in kube-apiserver kube-controller-manager kube-scheduler server; do
    printf '#!/bin/sh\\n' > "$2$name"; chmod +x "$2$name"
done
"""


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `go` that "builds" at once, first on PATH, with an empty cache. Returns its file, to be written over."""
    path = tmp_path / "bin" / "go"
    path.parent.mkdir()
    path.write_text(GO_BUILDS.format(count=tmp_path / "count"))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("BREAKWATER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return path


def fails_with(go: Path, stderr: str) -> None:
    go.write_text(f"#!/bin/sh\n[ \"$1\" = version ] && exit 0\ncat >&2 <<'END'\n{stderr}\nEND\nexit 1\n")


def test_programs_built_once_are_taken_from_the_cache_afterwards(go: Path, tmp_path: Path) -> None:
    first = build.binaries()
    assert {path.name for path in first.iterdir()} == set(NAMES)
    assert build.binaries() == first
    assert (tmp_path / "count").read_text() == "built\n"


def test_two_runs_at_a_time_build_once(go: Path, tmp_path: Path) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(build.binaries())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == len(threads)
    assert (tmp_path / "count").read_text() == "built\n"


def test_another_version_of_go_builds_anew(go: Path) -> None:
    first = build.binaries()
    go.write_text(go.read_text().replace("go1.26.8", "go1.27.0"))
    assert build.binaries() != first


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        ("go: go.mod requires go >= 1.26.0 (running go 1.22.1; GOTOOLCHAIN=local)", "too old"),
        ("go: k8s.io/api@v0.36.3: Get: dial tcp: lookup proxy: no such host", "could not download"),
        ("x.go:1: syntax error", "did not build"),
    ],
)
def test_build_that_fails_says_why_and_leaves_no_cache(go: Path, tmp_path: Path, stderr: str, said: str) -> None:
    fails_with(go, stderr)
    with pytest.raises(ClusterError, match=said) as caught:
        build.binaries()
    assert stderr in str(caught.value)
    assert [path.name for path in (tmp_path / "cache" / "controlplane").iterdir() if path.is_dir()] == []


def test_go_that_is_too_old_to_read_go_mod_says_so(go: Path) -> None:
    go.write_text("#!/bin/sh\necho 'go: go.mod requires go >= 1.26.0 (running go 1.22.1)' >&2; exit 1\n")
    with pytest.raises(ClusterError, match="too old"):
        build.binaries()


def test_build_killed_half_way_is_done_again(go: Path, tmp_path: Path) -> None:
    finished = go.read_text()
    go.write_text(
        '#!/bin/sh\nif [ "$1" = version ]; then echo "go version go1.26.8 linux/amd64"; exit 0; fi\nkill -9 $PPID\n'
    )
    script = "from tests.cluster.local import build; build.binaries()"
    killed = subprocess.run([sys.executable, "-c", script], cwd=build.PROJECT, capture_output=True, check=False)
    assert killed.returncode == -9

    go.write_text(finished)
    target = build.binaries()
    assert {path.name for path in target.iterdir()} == set(NAMES)
    assert [path for path in target.parent.iterdir() if path.is_dir()] == [target]


def test_given_assets_are_used_instead_of_go_when_whole(
    go: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assets = tmp_path / "assets"
    assets.mkdir()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    for name in NAMES[1:]:
        (assets / name).touch(mode=0o755)
    assert build.binaries() != assets
    (assets / NAMES[0]).touch(mode=0o755)
    assert build.binaries() == assets


@pytest.mark.skipif(sys.platform != "linux", reason="a local cluster needs Linux, whatever else is there")
def test_machine_without_go_and_without_assets_says_why_there_is_no_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    assert "Go is not installed" in (local_cluster.available() or "")
    with pytest.raises(ClusterError, match="Go is not installed"):
        build.binaries()
