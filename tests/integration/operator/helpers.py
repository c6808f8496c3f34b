"""The operator under test and what an administrator does to its cluster."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from tests.cluster.local.control_plane import ControlPlane
from tests.integration.operator.fake_desk import FakeDesks

from breakwater.runtime.clocks import WallInfraClock
from breakwater.runtime.redis_kv import RedisKeyValueStore
from breakwater_operator.cluster.kinds import BY_NAME, EMERGENCY_STOP, EVENT, Kind
from breakwater_operator.desired.inputs import Platform
from breakwater_operator.main import Operator
from breakwater_operator.settings import OperatorSettings

KEY = "the-operator-key-of-these-tests"
SECONDS = 60.0


class Cluster:
    """What an administrator does to one namespace, as JSON over HTTP."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.namespace = namespace
        trust = ssl.create_default_context(cafile=str(plane.cluster.ca_file))
        trust.load_cert_chain(plane.cluster.pki_dir / "admin.crt", plane.cluster.pki_dir / "admin.key")
        self._http = httpx.AsyncClient(base_url=plane.cluster.server, verify=trust, trust_env=False, timeout=10)

    async def close(self) -> None:
        await self._http.aclose()

    async def create_namespace(self) -> None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        (await self._http.post("/api/v1/namespaces", json=body)).raise_for_status()

    async def delete_namespace(self) -> None:
        await self._http.delete(f"/api/v1/namespaces/{self.namespace}")

    async def create(self, body: dict[str, Any]) -> dict[str, Any]:
        kind = BY_NAME[body["kind"]]
        body = {**body, "apiVersion": kind.api_version}
        answer = await self._http.post(kind.path(self.namespace), json=body)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def patch(self, kind: Kind, name: str, patch: dict[str, Any], *, status: bool = False) -> dict[str, Any]:
        path = kind.path(self.namespace, name, "status" if status else "")
        headers = {"Content-Type": "application/merge-patch+json"}
        answer = await self._http.patch(path, json=patch, headers=headers)
        assert answer.status_code == 200, answer.text
        now: dict[str, Any] = answer.json()
        return now

    async def delete(self, kind: Kind, name: str) -> None:
        (await self._http.delete(kind.path(self.namespace, name))).raise_for_status()

    async def get(self, kind: Kind, name: str) -> dict[str, Any] | None:
        answer = await self._http.get(kind.path(self.namespace, name))
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    async def names(self, kind: Kind) -> set[str]:
        return {item["metadata"]["name"] for item in await self.items(kind)}

    async def items(self, kind: Kind) -> list[dict[str, Any]]:
        answer = await self._http.get(kind.path(self.namespace))
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()["items"]
        return found

    async def status(self, kind: Kind, name: str) -> dict[str, Any]:
        found = await self.get(kind, name)
        status: dict[str, Any] = (found or {}).get("status", {})
        return status

    async def condition(self, kind: Kind, name: str, type_: str) -> dict[str, Any]:
        """One condition; empty when there is none."""
        for condition in (await self.status(kind, name)).get("conditions", []):
            if condition["type"] == type_:
                found: dict[str, Any] = condition
                return found
        return {}

    async def events(self, reason: str) -> list[str]:
        """Notes of the operator's Events with this reason."""
        return [item.get("note", "") for item in await self.items(EVENT) if item.get("reason") == reason]


def store_at(url: str) -> RedisKeyValueStore:
    """The test's own look into the store: as patient as the test, whatever else this machine does. ``close`` it."""
    return RedisKeyValueStore(url, WallInfraClock(), timeout=SECONDS)


async def eventually(condition: Callable[[], Awaitable[Any]], what: str) -> Any:
    """Wait until ``condition`` gives something true, and return it."""
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                if found := await condition():
                    return found
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not within {SECONDS:g} s: {what}") from None


async def answered(cluster: Cluster, request: str, name: str = "main") -> bool:
    """Whether the status of the stop ``name`` has an answer to ``request``."""
    found = (await cluster.status(EMERGENCY_STOP, name)).get("requests", [])
    return request in [answer["requestID"] for answer in found]


class Operators:
    """Starts and ends operators on the test's namespace."""

    def __init__(self, plane: ControlPlane, namespace: str, redis_url: str, desks: FakeDesks) -> None:
        self._environment = {"KUBECONFIG": str(plane.cluster.kubeconfig)}
        self._desks = desks
        self._running: list[Operator] = []
        self.settings = OperatorSettings(
            redis_url=redis_url,
            operator_key=KEY,
            platform=Platform.load("image: breakwater:test"),
            namespaces=(namespace,),
            http_host="127.0.0.1",
            http_port=0,
            log_format="json",
            log_level="warning",
        )

    async def start(self) -> Operator:
        operator = Operator(self.settings, self._environment, self._desks.locate)
        self._running.append(operator)
        await operator.start()
        return operator

    async def end(self, operator: Operator) -> None:
        self._running.remove(operator)
        await operator.stop()

    async def end_all(self) -> None:
        for operator in list(self._running):
            await self.end(operator)


def policy(name: str = "main", **spec: Any) -> dict[str, Any]:
    return {
        "kind": "TradingPolicy",
        "metadata": {"name": name},
        "spec": {"profile": "NORMAL", "symbols": ["BTCUSDT", "ETHUSDT"], **spec},
    }


def stop(name: str = "main", policy_name: str = "main", **spec: Any) -> dict[str, Any]:
    return {
        "kind": "EmergencyStop",
        "metadata": {"name": name},
        "spec": {"policyRef": {"name": policy_name}, **spec},
    }
