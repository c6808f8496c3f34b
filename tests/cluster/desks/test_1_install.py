"""`helm install`, `kubectl apply`, and a desk that trades."""

from __future__ import annotations

import yaml
from tests.cluster.desks.lab import COMPONENTS, RELEASE_NAMESPACE, Lab, profile


def test_profile_applied_after_install_gives_a_desk_that_is_ready_and_trades(lab: Lab, desk: str) -> None:
    assert lab.names("deployments", desk) == {f"main-{component}" for component in COMPONENTS}
    policy, stop = lab.status("tradingpolicy", "main", desk), lab.status("estop", "main", desk)
    conditions = {c["type"]: c["status"] for c in policy["conditions"]}
    assert conditions == {"Ready": "True", "PolicyPublished": "True", "ComponentsReady": "True", "Halted": "False"}
    assert (policy["mode"], policy["stopState"], policy["emergencyStopName"]) == ("Paper", "ARMED", "main")
    assert stop["state"] == "ARMED"
    lab.until(lambda: lab.gate(desk)[0] == "OPEN", what="the gate opens")
    lab.until(lambda: lab.page(desk)["positions"], 60, what="a position is opened")


def test_kubectl_get_shows_profile_mode_version_stop_and_drawdown(lab: Lab, desk: str) -> None:
    lab.until(lambda: "dailyDrawdownPct" in lab.status("estop", "main", desk), what="a drawdown is reported")
    lines = [line.split() for line in lab.kubectl("get", "tp,estop", "-n", desk).splitlines() if line.strip()]
    policy = dict(zip(lines[0], lines[1], strict=True))
    stop = dict(zip(lines[2], lines[3], strict=False))
    assert (policy["PROFILE"], policy["MODE"], policy["STOP"], policy["READY"]) == ("NORMAL", "Paper", "ARMED", "True")
    assert int(policy["VERSION"]) >= 1
    assert stop["STATE"] == "ARMED"
    assert float(stop["DRAWDOWN"]) >= 0


def test_every_component_answers_its_probes_and_metrics(lab: Lab, desk: str) -> None:
    for component in COMPONENTS:
        for path in ("/livez", "/readyz", "/healthz", "/metrics"):
            answer = lab.request(desk, "main", component, "GET", path)
            assert answer.status_code == 200, f"{component}{path}: {answer.text}"


def test_helm_test_after_install_passes(lab: Lab) -> None:
    assert "Succeeded" in lab.helm("test", "breakwater", "-n", RELEASE_NAMESPACE, "--timeout", "60s")


def test_same_manifest_applied_again_writes_nothing(lab: Lab, desk: str) -> None:
    def versions() -> dict[str, str]:
        kinds = "deployments,services,configmaps,persistentvolumeclaims,serviceaccounts,secrets"
        ours = lab.items(kinds, desk, "app.kubernetes.io/managed-by=breakwater-operator")
        # A Deployment's resourceVersion moves with its status: what the operator wrote is in its generation.
        return {
            f"{item['kind']}/{item['metadata']['name']}": str(
                item["metadata"].get("generation", item["metadata"]["resourceVersion"])
            )
            for item in ours
        }

    before, version = versions(), lab.status("tradingpolicy", "main", desk)["version"]
    lab.apply(profile("normal"), desk)
    lab.kubectl("annotate", "tradingpolicy", "main", "-n", desk, "example.com/touched=1", "--overwrite")
    lab.ready("main", desk)
    assert versions() == before
    assert lab.status("tradingpolicy", "main", desk)["version"] == version


def test_operator_may_do_what_it_does_and_no_more(lab: Lab) -> None:
    def may(verb: str, resource: str) -> bool:
        who = f"system:serviceaccount:{RELEASE_NAMESPACE}:breakwater-operator"
        plain, _, sub = resource.partition("/")
        part = (f"--subresource={sub}",) if sub else ()
        answer = lab.kubectl.run("auth", "can-i", verb, plain, *part, "--as", who, "-n", "default")
        return answer.stdout.strip() == "yes"

    assert may("patch", "tradingpolicies.breakwater.trading/status")
    assert may("patch", "deployments.apps")
    for verb, resource in (
        ("get", "secrets"),
        ("list", "secrets"),
        ("watch", "secrets"),
        ("update", "tradingpolicies.breakwater.trading"),
        ("delete", "tradingpolicies.breakwater.trading"),
        ("create", "pods"),
        ("delete", "persistentvolumeclaims"),
        ("create", "clusterrolebindings.rbac.authorization.k8s.io"),
        ("create", "pods/exec"),
    ):
        assert not may(verb, resource), f"the operator may {verb} {resource}"


def test_child_of_a_desk_runs_restricted_and_without_a_token(lab: Lab, desk: str) -> None:
    for pod in lab.items("pods", desk, "breakwater.trading/policy=main"):
        assert pod["spec"]["automountServiceAccountToken"] is False
        sources = [
            source for volume in pod["spec"]["volumes"] for source in volume.get("projected", {}).get("sources", [])
        ]
        assert not any("serviceAccountToken" in source for source in sources)
    lab.kubectl("label", "namespace", desk, "pod-security.kubernetes.io/enforce=restricted", "--overwrite")
    pods = lab.items("deployments", desk, "breakwater.trading/policy=main")
    for item in pods:
        template = item["spec"]["template"]
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "dry"},
            "spec": template["spec"],
        }
        answer = lab.kubectl.run("create", "-n", desk, "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(pod))
        assert answer.returncode == 0, f"{item['metadata']['name']}: {answer.stderr}"
