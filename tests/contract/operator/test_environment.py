"""What the operator renders for a component is what the component reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from breakwater.cli.run import COMPONENTS
from breakwater.domain.ids import Symbol
from breakwater.domain.policy import ClaimRef, PaperMarket, PolicySpec, SecretRef, TradingMode, VenueSpec
from breakwater.runtime.settings import load_settings
from breakwater_operator.desired.children import children
from breakwater_operator.desired.components import NAMES
from breakwater_operator.desired.inputs import DeskFacts, Platform
from breakwater_operator.desired.manifest import Manifest

SYMBOLS = (Symbol("BTCUSDT"), Symbol("DOGEUSDT"))
START = datetime(2025, 10, 10, 20, tzinfo=UTC)
DESKS = {
    "plain": PolicySpec(symbols=SYMBOLS),
    "crash": PolicySpec(
        symbols=SYMBOLS, venue=VenueSpec(paper=PaperMarket("synthetic:7", Decimal(60), crash_after_minutes=30))
    ),
    "replay": PolicySpec(
        symbols=SYMBOLS,
        venue=VenueSpec(paper=PaperMarket("replay:a.csv,b/c.csv", Decimal("2.5"), START, None, ClaimRef("data"))),
    ),
    "staging": PolicySpec(
        symbols=SYMBOLS,
        trading_mode=TradingMode.STAGING,
        venue=VenueSpec(credentials_secret_ref=SecretRef("binance")),
    ),
    "live": PolicySpec(
        symbols=SYMBOLS, trading_mode=TradingMode.LIVE, venue=VenueSpec(credentials_secret_ref=SecretRef("binance"))
    ),
}
NOT_SETTINGS = {"POD_IP"}
"""Read by no component: other variables refer to it."""


class Remembering(Mapping[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values, self.asked = values, set[str]()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def containers(desk: str) -> dict[str, Manifest]:
    facts = DeskFacts(
        name="main",
        namespace="desk-a",
        uid="0a1b2c3d-5e6f-4711-8a9b-0c1d2e3f4a5b",
        policy=DESKS[desk],
        stop_name="main",
        token="t",
        redis_url="redis://r",
    )
    built = children(facts, Platform(image="breakwater:1", bind_address="$(POD_IP)"))
    found = [child["spec"]["template"]["spec"]["containers"][0] for child in built if child["kind"] == "Deployment"]
    return {container["command"][2]: container for container in found}


def environment(container: Manifest) -> dict[str, str]:
    """The container's variables as the kubelet would give them."""
    sources = {"POD_IP": "10.1.2.3", "REDIS_URL": "redis://:password@valkey:6379/0"}
    found: dict[str, str] = {}
    for entry in container["env"]:
        value = entry["value"] if "value" in entry else sources[entry["name"]]
        found[entry["name"]] = value.replace("$(POD_IP)", found.get("POD_IP", "$(POD_IP)"))
    return found


CASES = [(desk, name) for desk in DESKS for name in containers(desk)]


@pytest.mark.parametrize(("desk", "component"), CASES)
def test_every_variable_is_a_setting_and_every_value_is_accepted(desk: str, component: str) -> None:
    given = Remembering(environment(containers(desk)[component]))
    settings = load_settings(given)
    assert set(given) - given.asked - NOT_SETTINGS == set()
    assert settings.mode is DESKS[desk].trading_mode
    assert settings.http_host == "10.1.2.3"
    assert settings.http_port == 8080
    assert settings.desk == "desk-a-main-0a1b2c3d"
    assert str(settings.state_dir) == "/var/lib/breakwater/desk-a-main-0a1b2c3d"


@pytest.mark.parametrize(("desk", "component"), CASES)
def test_files_named_in_the_environment_are_mounted(desk: str, component: str) -> None:
    container = containers(desk)[component]
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    for name, value in environment(container).items():
        if name.endswith(("_FILE", "_DIR", "_MIRROR")):
            assert any(value.startswith(f"{mount}/") for mount in mounts), name


@pytest.mark.parametrize("desk", DESKS)
def test_command_is_one_that_the_image_has(desk: str) -> None:
    for name, container in containers(desk).items():
        assert container["command"] == ["breakwater", "run", name]
        assert name in COMPONENTS
        assert container["name"] == name.replace("_", "-")


def test_every_component_of_the_command_line_runs_on_kubernetes_but_the_policys_writer() -> None:
    # There the operator writes the policy.
    assert set(COMPONENTS) - {"policy"} == set(NAMES) == set(containers("plain"))


def test_only_execution_reads_the_exchange_key_and_the_venue_neither_store_nor_token() -> None:
    seen: dict[str, Any] = {name: load_settings(environment(c)) for name, c in containers("plain").items()}
    assert [name for name, settings in seen.items() if settings.api_key_file] == ["execution"]
    assert seen["paper_venue"].redis_url is None
    assert all(settings.token_file for name, settings in seen.items() if name != "paper_venue")
