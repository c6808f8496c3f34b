"""The crash of 10 October 2025, as recorded, played to a desk in the cluster at speed 60."""

from __future__ import annotations

import copy
from datetime import datetime
from typing import Any

import pytest
import yaml
from tests.cluster.desks.lab import PROJECT, Lab
from tests.cluster.desks.test_7_crash import POLICY, STOP, Optimist

RECORDED = PROJECT.parent / "shared" / "marketdata"
FILES = ("BTCUSDT-5m-2025-09_2025-10.csv.gz", "ETHUSDT-5m-2025-09_2025-10.csv.gz")
NAMESPACE = "desk-recorded"


def _volume(name: str, path: str) -> list[dict[str, Any]]:
    """A volume with the recorded files and the claim that a replay names."""
    size = {"storage": "1Gi"}
    common = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    volume = {"capacity": size, "hostPath": {"path": path}, "claimRef": {"name": "data", "namespace": NAMESPACE}}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": {**common, **volume}},
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": NAMESPACE},
            "spec": {**common, "volumeName": name, "resources": {"requests": size}},
        },
    ]


@pytest.mark.slow
@pytest.mark.marketdata
@pytest.mark.timeout(420)
@pytest.mark.skipif(not RECORDED.exists(), reason="no recorded market data beside the project (shared/marketdata)")
def test_recorded_crash_trips_the_desk_and_kubectl_resets_it(lab: Lab) -> None:
    lab.namespace(NAMESPACE)
    lab.kubectl.apply(*_volume("recorded", str(RECORDED)))
    policy, stop = copy.deepcopy(POLICY), copy.deepcopy(STOP)
    market = {"market": f"replay:{','.join(FILES)}", "speed": 60, "start": "2025-10-10T20:15:00Z"}
    del policy["spec"]["day"]  # type: ignore[attr-defined]  # the recorded one is over long before midnight
    policy["spec"]["venue"] = {"paper": {**market, "dataClaimRef": {"name": "data"}}}  # type: ignore[index]
    lab.apply(yaml.safe_dump_all([policy, stop]), NAMESPACE)
    lab.ready("main", NAMESPACE)
    with Optimist(lab, NAMESPACE):
        tripped = lab.until(
            lambda: (s := lab.status("estop", "main", NAMESPACE))["state"] != "ARMED" and s, 240, what="the stop trips"
        )
    assert tripped["trigger"] == "DAILY_DRAWDOWN"
    moment = datetime.fromisoformat(tripped["trippedAt"])
    assert (moment.year, moment.month, moment.day) == (2025, 10, 10)
    lab.until(lambda: lab.status("estop", "main", NAMESPACE)["state"] == "COOLING_DOWN", what="flat")
    assert lab.execution(NAMESPACE)["positions"] == {}
    token = lab.token("main", NAMESPACE)

    def missing() -> Any:
        answer = lab.request(NAMESPACE, "main", "emergency-stop", "GET", "/v1/stop", token=token).json()
        return answer["reset"]["newBaseline"]

    lab.until(lambda: missing() == [], 90, what="cooled down")
    reset = {"requestID": "r1", "tripID": tripped["tripID"], "reason": "looked at it", "newBaseline": True}
    lab.patch("estop", "main", NAMESPACE, {"spec": {"reset": reset}})
    lab.until(lambda: lab.status("estop", "main", NAMESPACE)["state"] == "ARMED", what="armed again")
    lab.until(lambda: lab.gate(NAMESPACE)[0] == "OPEN", what="the gate opens")
