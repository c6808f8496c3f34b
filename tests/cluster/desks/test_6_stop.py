"""Trip and reset with kubectl patch."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.cluster.desks.lab import Lab
from tests.cluster.local.pki import write_private

BREAKWATER = (sys.executable, "-m", "breakwater.cli.main")


def _answer(lab: Lab, desk: str, request: str) -> dict[str, Any]:
    def answered() -> Any:
        return next(
            (r for r in lab.status("estop", "main", desk).get("requests", []) if r["requestID"] == request), None
        )

    found: dict[str, Any] = lab.until(answered, what=f"an answer to {request}")
    return found


def _reset(lab: Lab, desk: str, request: str, **more: Any) -> dict[str, Any]:
    trip = lab.status("estop", "main", desk)["tripID"]
    reset = {"requestID": request, "tripID": trip, "reason": "checked", **more}
    lab.patch("estop", "main", desk, {"spec": {"reset": reset}})
    return _answer(lab, desk, request)


def test_trip_by_patch_closes_the_gate_and_a_reset_is_answered_once(lab: Lab, desk: str) -> None:
    lab.until(lambda: lab.gate(desk)[0] == "OPEN", what="the gate is open before")
    lab.patch("estop", "main", desk, {"spec": {"trip": {"requestID": "t1", "reason": "trying it out"}}})
    lab.until(lambda: lab.gate(desk)[0] == "REDUCE_ONLY", what="the gate closes")
    assert _answer(lab, desk, "t1")["accepted"] is True
    stop = lab.until(
        lambda: (s := lab.status("estop", "main", desk))["state"] == "COOLING_DOWN" and s, what="flat and cooling down"
    )
    assert stop["trigger"] == "PERSON"
    assert [(row["from"], row["to"]) for row in stop["audit"]][-2:] == [
        ("ARMED", "TRIPPED"),
        ("TRIPPED", "COOLING_DOWN"),
    ]
    assert lab.execution(desk)["positions"] == {}
    halted = lab.until(
        lambda: (c := lab.condition("estop", "main", desk, "Halted")).get("status") == "True" and c, what="Halted"
    )
    assert "kubectl patch" in halted["message"]
    assert stop["tripID"] in halted["message"]

    refused = _reset(lab, desk, "r1")
    assert (refused["accepted"], refused["code"]) == (False, "RESET_COOLING_DOWN")
    assert refused["remainingSeconds"] > 0
    before = lab.status("estop", "main", desk)
    # The same patch again, and the object touched: a refused request never fires later.
    _reset(lab, desk, "r1")
    lab.kubectl("annotate", "estop", "main", "-n", desk, "example.com/touched=1", "--overwrite")
    # Nor does the component itself judge it anew when somebody hands it over again.
    body = {"kind": "reset", "requestID": "r1", "tripID": stop["tripID"], "reason": "checked", "requestedBy": "kim"}
    asked = [
        lab.request(
            desk, "main", "emergency-stop", "POST", "/v1/stop/requests", token=lab.token("main", desk), json=body
        )
        for _ in range(2)
    ]
    assert [each.status_code for each in asked] == [409, 409]
    assert asked[0].json() == asked[1].json()
    other = _reset(lab, desk, "r2", tripID="another-trip")
    assert other["accepted"] is False
    after = lab.status("estop", "main", desk)
    assert [r["requestID"] for r in after["requests"]] == ["t1", "r1", "r2"]
    assert after["requests"][1] == refused
    assert (after["state"], after["epoch"]) == (before["state"], before["epoch"])


def test_tripped_desk_cannot_be_talked_out_of_it(lab: Lab, started: str) -> None:
    stop = lab.status("estop", "main", started)
    assert stop["state"] == "COOLING_DOWN"
    # Not by the status, not even by an administrator in one step from TRIPPED, nor by switching the stop off.
    refused = lab.kubectl.run(
        "patch", "estop", "main", "-n", started, "--type", "merge", "-p", '{"spec":{"enabled":false}}'
    )
    assert "cannot be disabled" in refused.stderr
    lab.patch_status("estop", "main", started, {"epoch": stop["epoch"] + 1, "state": "ARMED"})
    lab.until(
        lambda: lab.status("estop", "main", started)["state"] == "COOLING_DOWN", what="the status tells the truth again"
    )
    assert lab.gate(started)[0] == "REDUCE_ONLY"


def test_heads_kept_in_the_status_fit_the_desks_audit_and_no_forged_one(lab: Lab, desk: str, tmp_path: Path) -> None:
    ip, token = lab.container(desk, "main-emergency-stop-").ip, tmp_path / "token"
    write_private(token, lab.token("main", desk).encode())

    def verify(heads: list[dict[str, Any]]) -> str:
        kept = tmp_path / "heads.json"
        kept.write_text(json.dumps(heads))
        command = ("audit", "verify", "--url", f"http://{ip}:8080", "--token-file", token, "--head", kept, "--json")
        answer = subprocess.run([*BREAKWATER, *map(str, command)], capture_output=True, text=True, check=False)
        verdict: str = json.loads(answer.stdout)["verdict"]
        assert (answer.returncode == 0) is (verdict == "WHOLE"), answer
        return verdict

    heads = lab.until(lambda: lab.status("estop", "main", desk).get("auditHeads"), what="heads in the status")
    assert verify(heads) == "WHOLE"
    other = hashlib.sha256(b"another history").hexdigest()
    assert verify([{**heads[-1], "hash": other}]) == "BROKEN"
