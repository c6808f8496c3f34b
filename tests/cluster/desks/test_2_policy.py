"""Changing a desk's policy: followed without a restart, or refused with the field's path."""

from __future__ import annotations

import contextlib
from typing import Any

import httpx
import yaml
from tests.cluster.desks.lab import Lab, profile


def _stop(name: str, policy: str = "main", **spec: Any) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "breakwater.trading/v1alpha1",
            "kind": "EmergencyStop",
            "metadata": {"name": name},
            "spec": {"policyRef": {"name": policy}, **spec},
        }
    )


def _condition(lab: Lab, desk: str, type_: str, status: str, *, kind: str = "tradingpolicy", name: str = "main") -> Any:
    return lab.until(
        lambda: (found := lab.condition(kind, name, desk, type_)).get("status") == status and found,
        what=f"{kind}/{name} {type_}={status}",
    )


def _limits(lab: Lab, desk: str) -> dict[str, tuple[float, str]]:
    rows = lab.status("tradingpolicy", "main", desk)["limits"]
    return {row["name"]: (row["effective"], row["binding"]) for row in rows}


def test_profile_switched_is_followed_by_the_running_components_without_a_restart(lab: Lab, desk: str) -> None:
    pods, version = lab.pods(desk), lab.status("tradingpolicy", "main", desk)["version"]
    lab.apply(profile("defensive"), desk)
    limits = {"maxLeverage": (10, "profile"), "maxDailyDrawdownPct": (3, "profile")}
    # The version is claimed in the status before it is published: the limits beside it say what is in force.
    lab.until(lambda: limits.items() <= _limits(lab, desk).items(), what="the limits in force")
    assert lab.status("tradingpolicy", "main", desk)["version"] == version + 1
    lab.until(lambda: lab.execution(desk)["policy"]["version"] == version + 1, what="execution follows")
    lab.until(
        lambda: lab.page(desk)["policy"]["profile"] == "DEFENSIVE", what="the page, another process, follows as well"
    )
    lab.ready("main", desk)
    assert lab.pods(desk) == pods


def test_change_the_desk_cannot_follow_is_refused_by_path_and_the_last_good_stays(lab: Lab, desk: str) -> None:
    before = lab.status("tradingpolicy", "main", desk)
    lab.patch("tradingpolicy", "main", desk, {"spec": {"tradingMode": "Staging"}})
    refused = _condition(lab, desk, "PolicyPublished", "False")
    assert "spec.tradingMode" in refused["message"]
    after = lab.status("tradingpolicy", "main", desk)
    assert (after["version"], after["mode"]) == (before["version"], "Paper")
    assert _condition(lab, desk, "Ready", "False")["message"]
    assert lab.execution(desk)["policy"] == {"version": before["version"], "stale": False, "hold": ""}
    lab.patch("tradingpolicy", "main", desk, {"spec": {"tradingMode": "Paper"}})
    _condition(lab, desk, "PolicyPublished", "True")
    lab.ready("main", desk)
    assert lab.status("tradingpolicy", "main", desk)["version"] == before["version"]


def test_second_stop_for_a_policy_closes_the_gate_until_one_is_left(lab: Lab, desk: str) -> None:
    pods = lab.pods(desk)
    lab.apply(_stop("second"), desk)
    assert "second" in _condition(lab, desk, "Ready", "False")["message"]
    assert _condition(lab, desk, "Ready", "False", kind="estop", name="second")["reason"] == "SeveralEmergencyStops"
    lab.until(lambda: lab.gate(desk) == ("REDUCE_ONLY", "POLICY_ON_HOLD"), what="the gate closes")
    # Either may be kept.
    lab.kubectl("delete", "estop", "main", "-n", desk)
    lab.until(lambda: lab.gate(desk)[0] == "OPEN", what="the gate opens under the second stop")
    lab.apply(profile("normal"), desk)
    _condition(lab, desk, "Ready", "False")
    lab.kubectl("delete", "estop", "second", "-n", desk)
    lab.ready("main", desk)
    lab.until(lambda: lab.gate(desk)[0] == "OPEN", what="the gate opens again")
    after = lab.pods(desk)
    # The page alone carries the stop's name.
    assert {name: pod for name, pod in after.items() if name != "dashboard"} == {
        name: pod for name, pod in pods.items() if name != "dashboard"
    }


def test_stop_deleted_closes_the_gate_and_its_return_opens_it(lab: Lab, desk: str) -> None:
    pods = lab.pods(desk)
    lab.kubectl("delete", "estop", "main", "-n", desk)
    assert _condition(lab, desk, "Ready", "False")["reason"] == "NoEmergencyStop"
    lab.until(lambda: lab.gate(desk) == ("REDUCE_ONLY", "POLICY_ON_HOLD"), what="the gate closes")
    lab.apply(profile("normal"), desk)
    lab.ready("main", desk)
    lab.until(lambda: lab.gate(desk)[0] == "OPEN", what="the gate opens again")
    assert lab.pods(desk) == pods


def test_policy_without_a_stop_starts_nothing_and_says_so(lab: Lab, namespace: str) -> None:
    policy = profile("normal").split("\n---\n")[0]
    lab.apply(policy, namespace)
    assert _condition(lab, namespace, "Ready", "False")["reason"] == "NoEmergencyStop"
    assert _condition(lab, namespace, "ComponentsReady", "False")
    assert lab.names("deployments", namespace) == set()


def test_stop_whose_policy_does_not_exist_says_so(lab: Lab, namespace: str) -> None:
    lab.apply(_stop("lonely", "nobody"), namespace)
    found = _condition(lab, namespace, "Ready", "False", kind="estop", name="lonely")
    assert found["reason"] == "PolicyNotFound"
    assert "nobody" in found["message"]


def test_live_desk_opens_nothing_before_key_clock_and_data_are_known_to_be_right(lab: Lab, namespace: str) -> None:
    """No exchange can be reached from here, and the first Secret named is not there: both are said, and nothing opens."""
    text = profile("normal").replace("tradingMode: Paper", "tradingMode: Live")
    assert "credentialsSecretRef" in lab.refused(text, namespace)
    with_keys = text.replace("tradingMode: Live", "tradingMode: Live\n  venue: {credentialsSecretRef: {name: nowhere}}")
    lab.apply(with_keys, namespace)
    _condition(lab, namespace, "PolicyPublished", "True")
    lab.until(
        lambda: (
            "it needs Secret nowhere with apiKey and apiSecret"
            in lab.condition("tradingpolicy", "main", namespace, "ComponentsReady").get("message", "")
        ),
        what="the missing Secret is named",
    )
    assert "main-paper-venue" not in lab.names("deployments", namespace)
    lab.apply(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "nowhere"},
                "stringData": {"apiKey": "k" * 64, "apiSecret": "s" * 64},
            }
        ),
        namespace,
    )

    def waits_for() -> str:
        with contextlib.suppress(LookupError, httpx.HTTPError):
            return lab.request(namespace, "main", "execution", "GET", "/readyz?verbose").text
        return ""

    said = lab.until(
        lambda: (text := waits_for()) and "the API key" in text and text, 60.0, what="execution says what it waits for"
    )
    for missing in ("what the API key may do", "the venue's clock", "the go-live check"):
        assert missing in said
    assert lab.execution(namespace)["mode"] == "Live"
    assert lab.gate(namespace)[0] == "REDUCE_ONLY"
    lab.until(
        lambda: lab.status("tradingpolicy", "main", namespace).get("gateReason", "") not in ("", "nothing runs yet"),
        what="the status says why nothing opens",
    )
    lab.patch("tradingpolicy", "main", namespace, {"spec": {"tradingMode": "Paper"}})
    refused = _condition(lab, namespace, "PolicyPublished", "False")
    assert "cannot change from Live to Paper" in refused["message"]
