"""The node agent runs pods as a kubelet does: what arrives in them, when they count as ready, how they end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.local.clients import Client
from tests.cluster.local.control_plane import ControlPlane
from tests.cluster.local.layout import Cluster
from tests.cluster.local.local_cluster import NODE_AGENT
from tests.cluster.local.processes import start_time, wait_until

SECONDS = 45.0
FOREVER = ["sleep", "1000000"]
SERVE = 'cd /www && exec python3 -m http.server --bind "$POD_IP" 8080'

Run = Callable[..., None]
Look = Callable[..., Any]


@pytest.fixture(autouse=True)
def _our_node(cluster: Cluster) -> None:
    if cluster.given:
        pytest.skip("KUBECONFIG names a cluster with a node of its own: there is no node agent to test")


@pytest.fixture
def run(kubectl: Client, namespace: str) -> Run:
    """`run("name", {container fields}, spec fields...)`: a pod with one container."""

    def start(name: str, container: dict[str, Any], *, labels: dict[str, str] | None = None, **spec: Any) -> None:
        whole = {"name": "main", "image": "none", **container}
        metadata = {"name": name, "labels": labels or {}}
        body = {"terminationGracePeriodSeconds": 3, "restartPolicy": "Always", **spec, "containers": [whole]}
        kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": body}, namespace=namespace)

    return start


@pytest.fixture
def look(kubectl: Client, namespace: str) -> Look:
    """`look("pod", "name")`: the object as it is."""
    return lambda kind, name: kubectl.json("get", kind, name, "-n", namespace)


@pytest.fixture
def awaited(kubectl: Client, namespace: str) -> Run:
    """`awaited("pod/name", "jsonpath=...")`: wait until kubectl sees it."""

    def wait(what: str, condition: str) -> None:
        answer = kubectl.run("wait", what, "-n", namespace, f"--for={condition}", f"--timeout={SECONDS:g}s")
        if answer.returncode:
            pytest.fail(f"{answer.stderr}\n{kubectl('describe', what, '-n', namespace)}")

    return wait


def phase(name: str) -> str:
    return f"jsonpath={{.status.phase}}={name}"


def eventually(condition: Callable[[], bool], what: str) -> None:
    wait_until(condition, SECONDS, what)


def processes(cluster: Cluster, namespace: str) -> dict[str, int]:
    """Pod name -> pid, as pods.json tells it."""
    records = json.loads(cluster.pods_file.read_text())
    return {record["pod"]: record["pid"] for record in records if record["namespace"] == namespace}


def reasons(kubectl: Client, namespace: str, pod: str) -> set[str]:
    events = kubectl.json("get", "events", "-n", namespace, "--field-selector", f"involvedObject.name={pod}")
    return {event["reason"] for event in events["items"]}


def state(pod: dict[str, Any], which: str = "state") -> dict[str, Any]:
    (status,) = pod["status"]["containerStatuses"]
    found: dict[str, Any] = status[which]
    return found


def from_field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


POD_IP = from_field("POD_IP", "status.podIP")


def test_everything_that_a_pod_asks_for_arrives(
    kubectl: Client, namespace: str, cluster: Cluster, run: Run, look: Look, awaited: Run
) -> None:
    kubectl("create", "configmap", "colours", "-n", namespace, "--from-literal=sky=blue", "--from-literal=grass=green")
    kubectl("create", "secret", "generic", "account", "-n", namespace, "--from-literal=key=s3cret")
    script = """
      echo "env $SKY $KEY $NAME $NODE $IP $LABEL $JOINED $1 $(pwd) $(hostname)"
      echo "more $grass $P_sky $MEMORY"
      echo "files $(cat /etc/colours/below/sky) $(cat /etc/account/key) $(cat /etc/labels/all) $(cat /one/file)"
      echo "absent=$(ls /etc/absent)"
      touch /etc/colours/x /account 2>/dev/null || echo "mounts are read-only"
      cat "$ADMIN" 2>/dev/null || echo "the administrator's kubeconfig is not there"
    """
    environment = [
        {"name": "SKY", "valueFrom": {"configMapKeyRef": {"name": "colours", "key": "sky"}}},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "account", "key": "key"}}},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        from_field("NAME", "metadata.name"),
        from_field("NODE", "spec.nodeName"),
        from_field("IP", "status.podIP"),
        from_field("LABEL", "metadata.labels['team']"),
        {"name": "JOINED", "value": "$(SKY)-$(KEY)-$$(SKY)-$(UNKNOWN)"},
        {"name": "ADMIN", "value": str(cluster.kubeconfig)},
    ]
    volumes = [
        {"name": "colours", "configMap": {"name": "colours", "items": [{"key": "sky", "path": "below/sky"}]}},
        {"name": "account", "secret": {"secretName": "account"}},
        {"name": "labels", "downwardAPI": {"items": [{"path": "all", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"name": "absent", "configMap": {"name": "absent", "optional": True}},
    ]
    mounts = [{"name": volume["name"], "mountPath": f"/etc/{volume['name']}"} for volume in volumes]
    mounts.append({"name": "colours", "mountPath": "/one/file", "subPath": "below/sky"})
    container = {
        "command": ["sh", "-c", script, "$(NAME)"],
        "args": ["$(SKY)!"],
        "env": environment,
        "envFrom": [{"configMapRef": {"name": "colours"}}, {"configMapRef": {"name": "colours"}, "prefix": "P_"}],
        "resources": {"limits": {"memory": "64Mi"}},
        "volumeMounts": mounts,
        "workingDir": "/srv",
        "securityContext": {"readOnlyRootFilesystem": True},
    }
    run("all", container, labels={"team": "desk"}, volumes=volumes, restartPolicy="Never")
    awaited("pod/all", phase("Succeeded"))

    ip = look("pod", "all")["status"]["podIP"]
    assert kubectl("logs", "all", "-n", namespace).splitlines() == [
        f"env blue s3cret all breakwater-node {ip} desk blue-s3cret-$(SKY)-$(UNKNOWN) blue! /srv all",
        "more green blue 64",
        'files blue s3cret team="desk" blue',
        "absent=",
        "mounts are read-only",
        "the administrator's kubeconfig is not there",
    ]


def test_read_only_root_refuses_a_write_and_a_writable_one_stays_the_pods_own(
    kubectl: Client, namespace: str, run: Run, awaited: Run
) -> None:
    script = "for place in /x /tmp/x /run/x; do touch $place 2>/dev/null && echo wrote $place; done; touch /scratch/x"
    volumes = [{"name": "scratch", "emptyDir": {}}]
    shared = {"command": ["sh", "-c", script], "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}
    run(
        "sealed",
        {**shared, "securityContext": {"readOnlyRootFilesystem": True}},
        volumes=volumes,
        restartPolicy="Never",
    )
    run("open", shared, volumes=volumes, restartPolicy="Never")
    awaited("pod/sealed", phase("Succeeded"))
    awaited("pod/open", phase("Succeeded"))

    assert kubectl("logs", "sealed", "-n", namespace) == ""
    assert kubectl("logs", "open", "-n", namespace).split("\n") == ["wrote /x", "wrote /tmp/x", "wrote /run/x", ""]
    assert not Path("/x").exists()


def test_claim_keeps_its_content_when_another_pod_mounts_it(
    kubectl: Client, namespace: str, run: Run, awaited: Run
) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "state"}, "spec": spec}
    kubectl.apply(claim, namespace=namespace)
    volumes = [{"name": "state", "persistentVolumeClaim": {"claimName": "state"}}]
    mounts = [{"name": "state", "mountPath": "/var/lib/breakwater"}]
    for name, script in (("writer", "echo kept > /var/lib/breakwater/f"), ("reader", "cat /var/lib/breakwater/f")):
        run(name, {"command": ["sh", "-c", script], "volumeMounts": mounts}, volumes=volumes, restartPolicy="Never")
        awaited(f"pod/{name}", phase("Succeeded"))

    assert kubectl("logs", "reader", "-n", namespace) == "kept\n"


def test_service_name_leads_to_the_pod_while_it_is_ready_and_is_refused_otherwise(
    kubectl: Client, namespace: str, run: Run, awaited: Run
) -> None:
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}
    headless = {"clusterIP": "None", "selector": {"app": "web"}}
    kubectl.apply(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "peers"}, "spec": headless},
        namespace=namespace,
    )
    ask = """
      ask() { curl -sS --max-time 3 "$1"; echo " exit $?"; }
      until curl -fs http://web/ >/dev/null; do sleep 0.1; done
      for host in web web.$NS web.$NS.svc web.$NS.svc.cluster.local peers:8080 web-0.peers.$NS.svc:8080; do ask http://$host/; done
      ask http://not-ready/ 2>/dev/null; ask http://no-such-name/ 2>/dev/null
    """
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "not-ready"},
            "spec": {**spec, "selector": {"app": "other"}},
        },
        namespace=namespace,
    )
    run(
        "client", {"command": ["sh", "-c", ask], "env": [from_field("NS", "metadata.namespace")]}, restartPolicy="Never"
    )
    container = {
        "command": ["sh", "-c", f"echo hello > /www/index.html; {SERVE}"],
        "env": [POD_IP],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 1},
        "volumeMounts": [{"name": "www", "mountPath": "/www"}],
    }
    run(
        "web",
        container,
        labels={"app": "web"},
        volumes=[{"name": "www", "emptyDir": {}}],
        hostname="web-0",
        subdomain="peers",
    )
    awaited("pod/client", phase("Succeeded"))

    answers = kubectl("logs", "client", "-n", namespace).splitlines()
    assert answers == ["hello", " exit 0"] * 6 + [" exit 7", " exit 6"]  # curl: 7 refused, 6 unknown name


def test_readiness_follows_its_probe_and_a_changed_config_map_reaches_the_running_pod(
    kubectl: Client, namespace: str, run: Run, look: Look, awaited: Run
) -> None:
    kubectl("create", "configmap", "mood", "-n", namespace, "--from-literal=ready=no")
    container = {
        "command": FOREVER,
        "readinessProbe": {"exec": {"command": ["grep", "-q", "yes", "/mood/ready"]}, "periodSeconds": 1},
        "volumeMounts": [{"name": "mood", "mountPath": "/mood"}],
    }
    run("moody", container, volumes=[{"name": "mood", "configMap": {"name": "mood"}}])
    awaited("pod/moody", phase("Running"))
    eventually(lambda: "Unhealthy" in reasons(kubectl, namespace, "moody"), "a failed probe is told")
    assert "ContainersNotReady" in json.dumps(look("pod", "moody")["status"]["conditions"])

    for word, ready in (("yes", "True"), ("no", "False")):
        kubectl("patch", "configmap", "mood", "-n", namespace, "-p", json.dumps({"data": {"ready": word}}))
        awaited("pod/moody", f"condition=Ready={ready}")
    assert look("pod", "moody")["status"]["containerStatuses"][0]["restartCount"] == 0


def test_failing_liveness_probe_restarts_the_container(
    kubectl: Client, namespace: str, run: Run, look: Look, awaited: Run
) -> None:
    second_run = ["sh", "-c", "test $(wc -l < /state/runs) -ge 2"]
    container = {
        "command": ["sh", "-c", "echo run >> /state/runs; exec sleep 1000000"],
        "startupProbe": {"exec": {"command": ["test", "-s", "/state/runs"]}, "periodSeconds": 1},
        "livenessProbe": {"exec": {"command": second_run}, "periodSeconds": 1, "failureThreshold": 1},
        "volumeMounts": [{"name": "state", "mountPath": "/state"}],
    }
    run("sick", container, volumes=[{"name": "state", "emptyDir": {}}])
    awaited("pod/sick", "jsonpath={.status.containerStatuses[0].restartCount}=1")
    awaited("pod/sick", "condition=Ready")

    assert state(look("pod", "sick"), "lastState")["terminated"]["exitCode"] == 128 + 15
    eventually(lambda: {"Unhealthy", "Killing"} <= reasons(kubectl, namespace, "sick"), "the restart is told")


def test_crash_loop_backs_off_and_says_how_it_ended(
    kubectl: Client, namespace: str, run: Run, look: Look, awaited: Run
) -> None:
    script = "echo no luck | tee /dev/termination-log; exit 3"
    run("crashing", {"command": ["sh", "-c", script]})
    awaited("pod/crashing", "jsonpath={.status.containerStatuses[0].state.waiting.reason}=CrashLoopBackOff")

    pod = look("pod", "crashing")
    last = state(pod, "lastState")["terminated"]
    assert (last["exitCode"], last["reason"], last["message"]) == (3, "Error", "no luck\n")
    assert pod["status"]["phase"] == "Running"
    eventually(lambda: "BackOff" in reasons(kubectl, namespace, "crashing"), "the back-off is told")


def test_missing_secret_is_named_and_the_pod_starts_once_it_appears(
    kubectl: Client, namespace: str, run: Run, look: Look, awaited: Run
) -> None:
    key = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "late", "key": "key"}}}
    run("by-variable", {"command": FOREVER, "env": [key]})
    mounts = [{"name": "late", "mountPath": "/late"}]
    volumes = [{"name": "late", "secret": {"secretName": "late"}}]
    run("by-volume", {"command": FOREVER, "volumeMounts": mounts}, volumes=volumes)
    awaited(
        "pod/by-variable", "jsonpath={.status.containerStatuses[0].state.waiting.reason}=CreateContainerConfigError"
    )
    assert state(look("pod", "by-variable"))["waiting"]["message"] == 'secret "late" not found'
    eventually(lambda: "FailedMount" in reasons(kubectl, namespace, "by-volume"), "the missing volume is told")

    kubectl("create", "secret", "generic", "late", "-n", namespace, "--from-literal=key=v")
    awaited("pod/by-variable", "condition=Ready")
    awaited("pod/by-volume", "condition=Ready")


def test_command_that_cannot_run_is_told_and_not_taken_for_running(run: Run, look: Look, awaited: Run) -> None:
    run("no-command", {})
    run("no-program", {"command": ["no-such-program"]}, restartPolicy="Never")
    awaited("pod/no-program", phase("Failed"))
    assert state(look("pod", "no-program"))["terminated"]["reason"] == "StartError"
    awaited("pod/no-command", "jsonpath={.status.containerStatuses[0].state.waiting.reason}=CreateContainerError")
    assert state(look("pod", "no-command"))["waiting"]["message"] == "image entrypoint unknown"


def test_deleted_pod_gets_its_grace_and_a_forced_one_none(
    kubectl: Client, cluster: Cluster, namespace: str, run: Run, awaited: Run
) -> None:
    polite = 'trap "echo bye >> /state/bye; exit 0" TERM; echo up; while :; do sleep 0.1; done'
    state_dir = cluster.node_dir / "test" / namespace
    volumes = [{"name": "state", "hostPath": {"path": str(state_dir), "type": "DirectoryOrCreate"}}]
    mounts = [{"name": "state", "mountPath": "/state"}]
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo hook >> /state/bye"]}}}
    run("polite", {"command": ["sh", "-c", polite], "volumeMounts": mounts, "lifecycle": hook}, volumes=volumes)
    deaf = 'trap "" TERM; while :; do sleep 0.1; done'
    run("deaf", {"command": ["sh", "-c", deaf]}, terminationGracePeriodSeconds=1)
    run("forced", {"command": ["sh", "-c", deaf]}, terminationGracePeriodSeconds=1000)
    for name in ("polite", "deaf", "forced"):
        awaited(f"pod/{name}", "condition=Ready")
    eventually(lambda: kubectl("logs", "polite", "-n", namespace) == "up\n", "the trap is set")
    pids = processes(cluster, namespace)

    kubectl("delete", "pod", "forced", "-n", namespace, "--grace-period=0", "--force")
    kubectl("delete", "pod", "polite", "deaf", "-n", namespace)
    eventually(lambda: not processes(cluster, namespace), "all three are gone from pods.json")
    assert [start_time(pid) for pid in pids.values()] == [None, None, None]
    assert (state_dir / "bye").read_text() == "hook\nbye\n"


@pytest.mark.slow
def test_agent_killed_and_restarted_leaves_no_orphan_and_runs_its_pods_again(
    control_plane: ControlPlane, cluster: Cluster, namespace: str, kubectl: Client, run: Run, look: Look, awaited: Run
) -> None:
    # The grandchild ignores the end of its parent: it dies with the agent's next start at the latest.
    script = "sleep 1000001 & echo $! > /state/child; wait"
    state_dir = cluster.node_dir / "test" / namespace
    volumes = [{"name": "state", "hostPath": {"path": str(state_dir), "type": "DirectoryOrCreate"}}]
    run(
        "stays",
        {"command": ["sh", "-c", script], "volumeMounts": [{"name": "state", "mountPath": "/state"}]},
        volumes=volumes,
    )
    run("goes", {"command": FOREVER})
    run("done", {"command": ["true"]}, restartPolicy="Never")
    awaited("pod/stays", "condition=Ready")
    awaited("pod/goes", "condition=Ready")
    awaited("pod/done", phase("Succeeded"))
    eventually((state_dir / "child").exists, "the grandchild runs")
    before = {**processes(cluster, namespace), "child": int((state_dir / "child").read_text())}

    control_plane.processes.kill(NODE_AGENT)
    kubectl("delete", "pod", "goes", "-n", namespace, "--grace-period=0", "--force")
    control_plane.processes.restart(NODE_AGENT)
    awaited("pod/stays", "jsonpath={.status.containerStatuses[0].restartCount}=1")
    awaited("pod/stays", "condition=Ready")

    assert [start_time(pid) for pid in before.values()] == [None, None, None]
    assert set(processes(cluster, namespace)) == {"stays"}
    assert state(look("pod", "stays"), "lastState")["terminated"]["exitCode"] == 137
    assert look("pod", "done")["status"]["phase"] == "Succeeded"


@pytest.mark.slow
def test_pods_outlive_the_api_server_and_what_was_missed_is_caught_up(
    control_plane: ControlPlane, cluster: Cluster, namespace: str, kubectl: Client, run: Run, look: Look, awaited: Run
) -> None:
    run("tough", {"command": FOREVER})
    run("short", {"command": ["sh", "-c", "sleep 1.5"]}, restartPolicy="Never")
    awaited("pod/tough", "condition=Ready")
    awaited("pod/short", phase("Running"))
    pid = processes(cluster, namespace)["tough"]

    control_plane.api_server.kill()
    eventually(lambda: "short" not in processes(cluster, namespace), "the short one ends without the API server")
    control_plane.api_server.start()
    awaited("pod/short", phase("Succeeded"))
    assert processes(cluster, namespace) == {"tough": pid}
    assert look("pod", "tough")["status"]["containerStatuses"][0]["restartCount"] == 0
    kubectl("delete", "pod", "tough", "-n", namespace)
    assert start_time(pid) is None


def test_service_account_token_works_with_its_rights_and_no_others(
    kubectl: Client, namespace: str, run: Run, awaited: Run
) -> None:
    kubectl("create", "serviceaccount", "reader", "-n", namespace)
    kubectl("create", "role", "reader", "-n", namespace, "--verb=list", "--resource=configmaps")
    kubectl("create", "rolebinding", "reader", "-n", namespace, "--role=reader", f"--serviceaccount={namespace}:reader")
    script = """
      cd /var/run/secrets/kubernetes.io/serviceaccount
      ask() { curl -s -o /dev/null -w '%{http_code}\\n' --cacert ca.crt -H "Authorization: Bearer $(cat token)" "$1"; }
      ask https://kubernetes.default.svc/api/v1/namespaces/$(cat namespace)/configmaps
      ask https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/api/v1/namespaces/$(cat namespace)/secrets
      ask https://kubernetes.default/api/v1/namespaces/default/configmaps
    """
    run("caller", {"command": ["sh", "-c", script]}, serviceAccountName="reader", restartPolicy="Never")
    awaited("pod/caller", phase("Succeeded"))

    assert kubectl("logs", "caller", "-n", namespace).split() == ["200", "403", "403"]


def test_job_with_an_init_container_completes_after_a_retry(kubectl: Client, namespace: str, awaited: Run) -> None:
    mounts = [{"name": "shared", "mountPath": "/shared"}]
    first = {"name": "first", "image": "none", "volumeMounts": mounts, "command": ["sh", "-c", "echo 1 > /shared/turn"]}
    script = "if grep -q 1 /shared/turn; then echo 2 > /shared/turn; exit 1; fi; echo done"
    second = {"name": "second", "image": "none", "volumeMounts": mounts, "command": ["sh", "-c", script]}
    pod = {
        "restartPolicy": "OnFailure",
        "initContainers": [first],
        "containers": [second],
        "volumes": [{"name": "shared", "emptyDir": {}}],
    }
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": {"template": {"spec": pod}}}
    kubectl.apply(job, namespace=namespace)
    awaited("job/job", "condition=Complete")

    assert kubectl("logs", "job/job", "-n", namespace) == "done\n"
