"""Benchmarks beside others go on without them: what cannot be made is said, with the reason, and gets no number."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tests.benchmarks import run
from tests.benchmarks.harness import Bench, NotMeasured, higher
from tests.benchmarks.peers import venvs
from tests.benchmarks.peers.venvs import FREQTRADE, NAUTILUS, PeerSpec, PeerUnavailable, peer_python


def test_peer_that_needs_a_python_nobody_has_says_which_one_and_how_to_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BREAKWATER_PEER_PYTHON", sys.executable)
    with pytest.raises(PeerUnavailable, match=r"needs Python 3\.99 or newer.*BREAKWATER_PEER_PYTHON"):
        peer_python(PeerSpec("nautilus", "nautilus-trader", oldest=99))


def test_installation_that_fails_leaves_no_environment_that_looks_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BREAKWATER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(venvs, "HERE", tmp_path)
    (tmp_path / "broken.txt").write_text("no-hash-given==1\n")
    for _ in range(2):  # the second attempt tries again, instead of taking the ruin for a whole one
        with pytest.raises(PeerUnavailable, match=r"broken 1|cannot be installed|not pin"):
            peer_python(PeerSpec("broken", "no-hash-given"))
    assert not list((tmp_path / "cache").rglob(".finished"))


@pytest.mark.parametrize("spec", [NAUTILUS, FREQTRADE])
def test_everything_a_peer_installs_is_pinned_with_hashes_and_names_no_address(spec: PeerSpec) -> None:
    text = spec.requirements.read_text()
    pins = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert spec.version
    assert all("==" in pin for pin in pins)
    assert text.count("--hash=sha256:") >= len(pins)
    assert "://" not in text


def test_bench_without_its_peer_has_no_value_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def unavailable() -> dict[str, float]:
        raise NotMeasured("the peer needs a newer Python")

    benches = [
        Bench((higher("x.ours", 1, 2, "a limit"),), lambda: {"x.ours": 3.0}, 1),
        Bench((higher("x.theirs", 1, 2, "a peer"),), unavailable),
        Bench((higher("x.last", 1, 2, "a limit"),), lambda: {"x.last": 1.5, "against": "a peer 1.0"}, 1),
    ]
    monkeypatch.setattr(run, "discovered", lambda: benches)
    out = tmp_path / "bench.json"
    monkeypatch.setattr(sys, "argv", ["run.py", "--only", "x.", "--out", str(out)])
    assert run.main() == 0
    ours, theirs, last = json.loads(out.read_text())
    assert (ours["value"], last["value"], last["against"]) == (3.0, 1.5, "a peer 1.0")
    assert theirs["value"] is None
    assert theirs["not_measured"] == "the peer needs a newer Python"
    assert "not measured: the peer needs a newer Python" in capsys.readouterr().out


def test_gate_benchmark_is_listed_where_its_peer_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(spec: PeerSpec) -> str:
        raise PeerUnavailable(f"{spec.name} runs nowhere")

    monkeypatch.setattr(venvs, "_base_python", nowhere)
    (bench,) = (b for b in run.discovered() if b.metrics[0].name == "gate.decisions_against_nautilus")
    results = bench.results()
    assert [result["name"] for result in results][:2] == [
        "gate.decisions_against_nautilus",
        "gate.p99_against_nautilus",
    ]
    assert {result["not_measured"] for result in results} == {"nautilus runs nowhere"}
    assert {result["value"] for result in results} == {None}
