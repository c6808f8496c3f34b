"""The reference pages say what the program does: names, keys, bounds and defaults are compared with the code."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import msgspec
import yaml
from fastapi import FastAPI
from fastapi.routing import APIRoute

from breakwater.dashboard.service import DashboardService
from breakwater.dashboard.view import DeskFacts
from breakwater.desk.desk import Desk
from breakwater.desk.up import _app
from breakwater.domain.ids import DeskId
from breakwater.domain.limits import effective_limits
from breakwater.domain.liquidity import Liquidity
from breakwater.domain.policy import PROFILE_LIMITS, wire_name
from breakwater.domain.signals import DataKind
from breakwater.drills.report import CrashReport
from breakwater.paper_venue.config import VenueConfig, spec_for
from breakwater.paper_venue.core import PaperVenue
from breakwater.runtime.events import EVENT_TYPES
from breakwater.runtime.manifests import load_manifests
from breakwater.runtime.metrics import Metrics
from breakwater.runtime.settings import LIMIT_VARIABLES, load_settings
from breakwater.simulation.run import Simulation, run_virtual
from breakwater.simulation.world import SimulatedWorld

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "the-token-of-this-test-0123456789"


def rows(page: Path, *, after: str = "") -> list[list[str]]:
    """Cells of the first table that begins after ``after``, without its two head lines."""
    lines = page.read_text().partition(after)[2].splitlines() if after else page.read_text().splitlines()
    table: list[list[str]] = []
    for line in lines:
        if line.startswith("|"):
            table.append([cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif table:
            break
    return table[2:]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


class _Asked(Mapping[str, str]):
    """An empty environment that remembers what it was asked for."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __getitem__(self, name: str) -> str:
        if name not in self.names:
            self.names.append(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def test_settings_page_names_every_variable_with_its_default(reference: Path) -> None:
    asked = _Asked()
    load_settings(asked)
    table = rows(reference / "settings.md", after="`breakwater run COMPONENT` reads")
    assert [code(row[0])[0] for row in table] == asked.names
    defaults = {code(row[0])[0]: code(row[1])[0] for row in table if row[1]}
    assert load_settings(defaults) == load_settings({})
    for name, default in defaults.items():
        assert load_settings({name: default}) == load_settings({}), name


def test_settings_page_names_the_limit_of_every_rm_variable(reference: Path) -> None:
    table = {code(row[0])[0]: code(row[2]) for row in rows(reference / "settings.md", after="COMPONENT` reads")}
    for variable, limit in LIMIT_VARIABLES.items():
        assert table[variable][0] == wire_name(limit)


def test_drills_page_lists_every_key_of_the_report_in_order(reference: Path) -> None:
    def keys(kind: Any, prefix: str = "") -> list[str]:
        found = []
        for field in msgspec.structs.fields(kind):
            found.append(prefix + field.name)
            inner = [t for t in getattr(field.type, "__args__", (field.type,)) if isinstance(t, type)]
            for each in inner:
                if issubclass(each, msgspec.Struct):
                    found += keys(each, f"{prefix}{field.name}.")
        return found

    assert [code(row[0])[0] for row in rows(reference / "drills.md", after="## Report")] == keys(CrashReport)


def test_events_page_lists_every_type_with_its_fields(reference: Path) -> None:
    table = rows(reference / "events.md")
    listed = {code(row[0])[0]: code(row[3]) for row in table}
    assert list(listed) == list(EVENT_TYPES)
    for name, kind in EVENT_TYPES.items():
        assert listed[name] == [field.name for field in msgspec.structs.fields(kind)], name


def test_metrics_page_lists_every_metric_with_kind_and_labels(reference: Path) -> None:
    metrics = Metrics(desk="d", component="c", version="1")
    metrics.count_handler_failure("any")
    real = {}
    for family in metrics.registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for sample in family.samples for label in sample.labels} - {"desk", "component"}
        real[name] = (family.type, labels)
    listed = {code(row[0])[0]: (row[1], set(code(row[2]))) for row in rows(reference / "metrics.md")}
    assert listed == real
    assert list(listed) == list(real)


def test_policy_guide_lists_every_limit_with_range_and_default() -> None:
    guide = ROOT / "docs" / "guide" / "02-policy.md"
    crd = yaml.safe_load((ROOT / "crds" / "tradingpolicies.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["limits"]
    desk = load_manifests(ROOT / "profiles" / "normal.yaml")
    bare = msgspec.structs.replace(desk.policy.spec, limits=type(desk.policy.spec.limits)())
    in_force = dict(effective_limits(bare, desk.stop.spec).items())
    table = {code(row[0])[0]: row for row in rows(guide, after="## Every limit")}
    assert list(table) == list(schema["properties"])
    for name, bounds in schema["properties"].items():
        low, high = (Decimal(part) for part in table[name][3].split(" to "))
        assert (low, high) == (Decimal(str(bounds["minimum"])), Decimal(str(bounds["maximum"]))), name
        left_out = table[name][2]
        if left_out == "profile":
            assert in_force[name].binding in ("profile", "emergencyStop"), name
        else:
            assert (Decimal(left_out), "default") == (in_force[name].requested, in_force[name].binding), name


def test_policy_guide_lists_the_figures_of_every_profile() -> None:
    table = rows(ROOT / "docs" / "guide" / "02-policy.md", after="A profile sets three limits")
    assert {row[0]: tuple(map(Decimal, row[1:])) for row in table} == {
        profile.value: (limits.max_risk_per_trade_pct, limits.max_daily_drawdown_pct, Decimal(limits.max_leverage))
        for profile, limits in PROFILE_LIMITS.items()
    }


def test_policy_guide_lists_every_setting_of_the_stop_with_range_and_default() -> None:
    table = rows(ROOT / "docs" / "guide" / "02-policy.md", after="`spec` of the EmergencyStop:")
    crd = yaml.safe_load((ROOT / "crds" / "emergencystops.yaml").read_text())
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    fields: dict[str, Any] = {}
    for name, field in spec.items():
        if name in ("policyRef", "reset", "trip"):
            continue
        inner = {f"{name}.{key}": value for key, value in field.get("properties", {}).items()}
        fields |= inner or {name: field}
    assert [code(row[0])[0] for row in table] == list(fields)
    for name, _, left_out, bounds in ((code(row[0])[0], *row[1:]) for row in table):
        field = fields[name]
        assert left_out == str(field["default"]).removesuffix(".0").replace("True", "true").replace("False", "false")
        if "minimum" in field:
            assert [Decimal(part) for part in bounds.split(" to ")] == [
                Decimal(str(field["minimum"])),
                Decimal(str(field["maximum"])),
            ], name


def test_policy_guide_lists_every_setting_of_the_mathematician_with_range_and_default() -> None:
    table = rows(ROOT / "docs" / "guide" / "02-policy.md", after="## The trading mathematician")
    crd = yaml.safe_load((ROOT / "crds" / "tradingpolicies.yaml").read_text())
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    fields = spec["mathematician"]["properties"]
    assert [code(row[0])[0] for row in table] == list(fields)
    for name, _, left_out, bounds in ((code(row[0])[0], *row[1:]) for row in table):
        asked = (Decimal(left_out), *map(Decimal, bounds.split(" to ")))
        assert asked == tuple(Decimal(str(fields[name][key])) for key in ("default", "minimum", "maximum")), name


def test_policy_guide_shows_what_liquidity_allows() -> None:
    table = rows(ROOT / "docs" / "guide" / "02-policy.md", after="What liquidity allows")
    assert len(table) == 3
    for cap, volume, spread in (tuple(map(Decimal, row)) for row in table):
        thin = Liquidity(volume - 1, Decimal(0)).leverage_cap(), Liquidity(volume, Decimal(0)).leverage_cap()
        wide = Liquidity(Decimal(10**12), spread + Decimal("0.001")).leverage_cap()
        assert thin[0] is not None
        assert thin[0].leverage == cap == (wide.leverage if wide else None)
        assert thin[1] is None or thin[1].leverage > cap


async def test_http_page_lists_every_route_and_who_needs_the_token(reference: Path) -> None:
    listed = {tuple(code(row[0])[0].split(" ")): row[2] for row in rows(reference / "http.md")}
    app = await asyncio.to_thread(run_virtual, _app_of_a_desk, seed=1, start=datetime(2025, 10, 10, 20, tzinfo=UTC))
    real = _routes(app)
    assert set(listed) == real
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for method, path in sorted(real - {("GET", "/v1/stream")}):  # the stream never ends
            concrete = path.replace("{symbol}", "BTCUSDT").replace("{name}", "app.js")
            status = (await client.request(method, concrete)).status_code
            assert (status == 401) == (listed[method, path] == "yes"), f"{method} {path}: {status} without a token"


async def _app_of_a_desk(simulation: Simulation) -> FastAPI:
    """What `breakwater up` serves, of a desk in memory that was never started."""
    venue = PaperVenue(VenueConfig(symbols=(spec_for("BTCUSDT"),)))
    world = SimulatedWorld(simulation, venue, desk=DeskId("main"), data=DataKind.SYNTHETIC)
    desk = Desk(world.ports, [])
    page = DashboardService(desk.context("dashboard"), DeskFacts("synthetic", "0", datetime.now(UTC)))
    desk.add(page)
    app = _app(desk, page, world.ports, "127.0.0.1", TOKEN, Path("nowhere"))
    await desk.stop()
    await world.close()
    return app


def _routes(app: FastAPI) -> set[tuple[str, str]]:
    found = {("GET", "/openapi.json")}
    pending: list[Any] = list(app.routes)
    while pending:
        route = pending.pop()
        if isinstance(route, APIRoute):
            found |= {(method, route.path) for method in route.methods or () if method != "HEAD"}
        else:
            pending += getattr(getattr(route, "original_router", None), "routes", [])
    return found
