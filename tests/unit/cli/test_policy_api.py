"""The policy over HTTP on a real store in memory: whole or not at all, and never looser behind a tripped stop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from breakwater.desk.policy_api import policy_router
from breakwater.domain.policy import TradingMode
from breakwater.domain.stop_state import StopState
from breakwater.runtime.clocks import WallInfraClock
from breakwater.runtime.manifests import load_manifests
from breakwater.runtime.policy_store import PolicyStore
from breakwater.runtime.ports import StoreUnavailable

PROFILES = Path(__file__).resolve().parents[3] / "profiles"
NORMAL = (PROFILES / "normal.yaml").read_text()


@dataclass
class Store:
    """A key-value store in memory that can be away."""

    values: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    away: bool = False

    async def get(self, key: str) -> bytes | None:
        self._ask()
        return self.values[key][1] if key in self.values else None

    async def set(self, key: str, value: bytes) -> None:
        self._ask()
        self.values[key] = (0, value)

    async def set_if_higher(self, key: str, version: int, value: bytes) -> bool:
        self._ask()
        if version <= self.values.get(key, (0, b""))[0]:
            return False
        self.values[key] = (version, value)
        return True

    async def ping(self) -> float:
        self._ask()
        return 0.0

    def _ask(self) -> None:
        if self.away:
            raise StoreUnavailable("no answer within 1 s")


@dataclass
class Desk:
    store: PolicyStore
    kv: Store
    client: httpx.AsyncClient
    announced: list[int]
    stop: StopState | None = StopState.ARMED

    async def post(self, text: str, path: str = "/v1/policy") -> httpx.Response:
        return await self.client.post(path, content=text.encode(), params={"who": "anna"})

    def version(self) -> int:
        current = self.store.current()
        return current.version if current else 0


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    announced: list[int] = []

    async def announce(policy: Any, changes: Any) -> None:
        announced.append(policy.version)

    kv = Store()
    store = PolicyStore(kv, None, WallInfraClock(), desk="main", writer=True, on_change=announce)
    app = FastAPI()
    app.state.token = "t" * 32
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://desk", headers={"Authorization": "Bearer " + "t" * 32}
    )
    made = Desk(store, kv, client, announced)
    router = policy_router(
        store,
        stop_state=lambda: made.stop,
        modes=(TradingMode.PAPER, TradingMode.STAGING),
    )
    app.include_router(router)
    await store.apply(load_manifests(NORMAL), who="test")
    yield made
    await client.aclose()


async def test_show_gives_limits_requested_and_effective_with_history(desk: Desk) -> None:
    found = (await desk.client.get("/v1/policy")).json()
    assert found["version"] == 1
    assert found["TradingPolicy"]["spec"]["profile"] == "NORMAL"
    drawdown = next(limit for limit in found["limits"] if limit["name"] == "maxDailyDrawdownPct")
    assert drawdown == {"name": "maxDailyDrawdownPct", "effective": "5", "requested": "5", "binding": "emergencyStop"}
    assert [entry["who"] for entry in found["history"]] == ["test"]


CALLS = [("GET", ""), ("POST", "?who=a"), ("POST", "/diff"), ("GET", "/snapshot"), ("POST", "/restore?who=a")]


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_every_call_needs_the_token(desk: Desk, method: str, path: str) -> None:
    desk.client.headers["Authorization"] = "Bearer wrong"
    assert (await desk.client.request(method, f"/v1/policy{path}", content=NORMAL)).status_code == 401
    assert desk.version() == 1


async def test_apply_of_a_change_raises_the_version_and_announces_it_once(desk: Desk) -> None:
    answer = await desk.post(NORMAL.replace("maxConcurrentPositions: 5", "maxConcurrentPositions: 3"))
    assert answer.status_code == 200
    found = answer.json()
    assert (found["version"], found["changed"]) == (2, True)
    assert found["effective"] == ["effective.maxConcurrentPositions: 5 -> 3"]
    assert desk.announced == [1, 2]
    again = await desk.post(NORMAL.replace("maxConcurrentPositions: 5", "maxConcurrentPositions: 3"))
    assert (again.json()["version"], again.json()["changed"]) == (2, False)
    assert desk.announced == [1, 2]


async def test_apply_of_wrong_fields_names_all_of_them_and_changes_nothing(desk: Desk) -> None:
    answer = await desk.post(NORMAL.replace("maxConcurrentPositions: 5", "maxLevrage: 3\n    maxExposurePct: 5000"))
    assert answer.status_code == 422
    errors = answer.json()["errors"]
    assert {error["field"] for error in errors} == {"spec.limits.maxLevrage", "spec.limits.maxExposurePct"}
    assert all(error["remedy"] or error["problem"] for error in errors)
    assert all(error["line"] for error in errors)
    assert desk.version() == 1


@pytest.mark.parametrize(
    ("text", "status"), [("", 422), ("a: [", 422), ("\x00", 422), ("kind: Pod", 422), ("#" * 300_000, 413)]
)
async def test_apply_of_what_is_no_policy_is_refused(desk: Desk, text: str, status: int) -> None:
    answer = await desk.post(text)
    assert answer.status_code == status
    assert answer.json()["errors"]
    assert desk.version() == 1


async def test_another_mode_is_another_desk_though_this_one_is_flat(desk: Desk) -> None:
    answer = await desk.post(NORMAL.replace("tradingMode: Paper", "tradingMode: Staging"))
    assert answer.status_code == 409
    assert answer.json()["errors"][0]["field"] == "spec.tradingMode"
    assert "create another TradingPolicy for Staging" in answer.json()["errors"][0]["remedy"]
    assert desk.version() == 1


async def test_mode_that_the_desk_is_not_wired_for_is_refused_even_when_flat(desk: Desk) -> None:
    live = NORMAL.replace("tradingMode: Paper", "tradingMode: Live\n  venue: {credentialsSecretRef: {name: b}}")
    answer = await desk.post(live)
    assert answer.status_code == 409
    assert "wired for Paper or Staging only" in answer.json()["errors"][0]["problem"]


@pytest.mark.parametrize("state", [StopState.TRIPPED, StopState.COOLING_DOWN])
async def test_loosened_stop_limits_while_tripped_wait_for_the_rearm(desk: Desk, state: StopState) -> None:
    desk.stop = state
    answer = await desk.post(NORMAL.replace("maxOpenLossPct: 10", "maxOpenLossPct: 12"))
    assert answer.status_code == 200
    assert answer.json()["waits"] == ["max open loss pct: 10 holds, 12 waits for the re-arm"]
    tightened = await desk.post(NORMAL.replace("maxOpenLossPct: 10", "maxOpenLossPct: 8"))
    assert tightened.json()["waits"] == []


@pytest.mark.parametrize(
    ("state", "status"),
    [(StopState.ARMED, 200), (StopState.TRIPPED, 409), (StopState.COOLING_DOWN, 409), (None, 409)],
)
async def test_stop_is_switched_off_only_while_known_not_to_be_tripped(
    desk: Desk, state: StopState | None, status: int
) -> None:
    desk.stop = state
    answer = await desk.post(NORMAL.replace("  maxDailyDrawdownPct: 5", "  enabled: false\n  maxDailyDrawdownPct: 5"))
    assert answer.status_code == status
    if status == 409:
        assert answer.json()["errors"][0]["field"] == "spec.enabled"


async def test_another_name_is_another_desk(desk: Desk) -> None:
    answer = await desk.post(NORMAL.replace("name: main", "name: other"))
    assert answer.status_code == 409
    assert {error["field"] for error in answer.json()["errors"]} == {"metadata.name"}


async def test_diff_shows_what_would_change_and_be_refused_and_changes_nothing(desk: Desk) -> None:
    text = NORMAL.replace("tradingMode: Paper", "tradingMode: Staging").replace(", SOLUSDT]", "]")
    found = (await desk.post(text, "/v1/policy/diff")).json()
    assert found["notes"] == ["SOLUSDT is exits only from now on"]
    assert [problem["field"] for problem in found["refused"]] == ["spec.tradingMode"]
    assert "TradingPolicy.spec.tradingMode: Paper -> Staging" in found["changes"]
    assert desk.version() == 1


async def test_apply_while_the_store_is_away_says_so_and_changes_nothing(desk: Desk) -> None:
    desk.kv.away = True
    answer = await desk.post(NORMAL.replace("maxConcurrentPositions: 5", "maxConcurrentPositions: 3"))
    assert answer.status_code == 503
    assert "nothing was changed" in answer.json()["errors"][0]["remedy"]
    assert desk.version() == 1


async def test_snapshot_comes_back_into_force_as_a_new_version(desk: Desk) -> None:
    taken = (await desk.client.get("/v1/policy/snapshot")).content
    await desk.post(NORMAL.replace("maxConcurrentPositions: 5", "maxConcurrentPositions: 3"))
    dry = {"who": "anna", "dry": "true"}
    looked = (await desk.client.post("/v1/policy/restore", content=taken, params=dry)).json()
    assert (looked["version"], looked["snapshot"], desk.version()) == (2, 1, 2)
    assert looked["effective"] == ["effective.maxConcurrentPositions: 3 -> 5"]
    found = (await desk.post(taken.decode(), "/v1/policy/restore")).json()
    assert (found["version"], found["snapshot"], found["changed"]) == (3, 1, True)
    assert desk.announced == [1, 2, 3]
    assert [entry.who for entry in desk.store.history()] == ["test", "anna", "anna"]


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: data.replace(b"NORMAL", b"AGGRESSIVE")]
)
async def test_damaged_snapshot_is_refused_and_nothing_changes(desk: Desk, damage: Any) -> None:
    taken = (await desk.client.get("/v1/policy/snapshot")).content
    answer = await desk.post(damage(taken).decode(), "/v1/policy/restore")
    assert answer.status_code == 422
    assert "no whole snapshot" in answer.json()["errors"][0]["problem"]
    assert desk.version() == 1


async def test_snapshot_is_judged_as_any_change_and_a_store_that_is_away_changes_nothing(desk: Desk) -> None:
    await desk.post(NORMAL.replace("  maxDailyDrawdownPct: 5", "  enabled: false\n  maxDailyDrawdownPct: 5"))
    taken = (await desk.client.get("/v1/policy/snapshot")).content.decode()
    await desk.post(NORMAL)
    desk.stop = StopState.TRIPPED
    assert (await desk.post(taken, "/v1/policy/restore")).status_code == 409
    desk.stop, desk.kv.away = StopState.ARMED, True
    assert (await desk.post(taken, "/v1/policy/restore")).status_code == 503
    assert desk.version() == 3


async def test_snapshot_longer_than_any_policy_is_not_read_to_its_end(desk: Desk) -> None:
    assert (await desk.post(" " * (2**20 + 1), "/v1/policy/restore")).status_code == 413
