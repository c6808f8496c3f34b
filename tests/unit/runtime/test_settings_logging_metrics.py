from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import structlog

from breakwater.domain.policy import TradingMode
from breakwater.domain.refusals import RefusalCode
from breakwater.domain.stop_state import StopState
from breakwater.runtime.logging import configure_logging, redactor
from breakwater.runtime.metrics import Metrics
from breakwater.runtime.settings import SettingsError, load_settings, read_secret


def test_empty_environment_gives_a_paper_desk() -> None:
    settings = load_settings({"REDIS_URL": " "})
    assert settings.mode is TradingMode.PAPER
    assert (settings.desk, settings.http_port, settings.redis_url, settings.limits) == ("main", 8080, None, {})


def test_names_of_the_seed_are_understood_as_the_seed_writes_them() -> None:
    settings = load_settings(
        {
            "RM_MAX_POSITION_USD": "2000",
            "RM_MAX_LEVERAGE": "30.0x",
            "RM_RISK_PER_TRADE_PCT": "10.0%",
            "QT_EXECUTION_EXCHANGE": "binance-futures",
            "QT_MARKET_TYPE": "usdm_perp",
            "QT_PAPER_TRADING": "false",
            "STAGING_MODE": "true",
            "BREAKWATER_MARKET_ANCHOR": "2025-10-10T20:00:00Z",
            "BREAKWATER_WALL_ANCHOR": "2025-10-10T22:00:00+02:00",
        }
    )
    assert settings.limits == {
        "max_position_margin_usd": Decimal(2000),
        "max_leverage": Decimal(30),
        "base_risk_per_trade_pct": Decimal(10),
    }
    assert settings.mode is TradingMode.STAGING
    assert settings.market_anchor == settings.wall_anchor == datetime(2025, 10, 10, 20, tzinfo=UTC)


def test_only_both_switches_off_is_live() -> None:
    live = {"QT_PAPER_TRADING": "false", "STAGING_MODE": "false"}
    assert load_settings(live).mode is TradingMode.LIVE
    with pytest.raises(SettingsError, match="BREAKWATER_SPEED must be 1"):
        load_settings({**live, "BREAKWATER_SPEED": "2"})


def test_all_bad_values_are_reported_at_once_with_name_value_and_remedy() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(
            {
                "RM_MAX_POSITION_USD": "lots",
                "RM_MAX_LEVERAGE": "-3x",
                "QT_PAPER_TRADING": "maybe",
                "QT_EXECUTION_EXCHANGE": "mt-gox",
                "REDIS_URL": "redis.local:6379",
                "BREAKWATER_HTTP_PORT": "99999",
                "BREAKWATER_SPEED": "max",
                "BREAKWATER_DESK": "Main Desk",
                "BREAKWATER_MARKET_ANCHOR": "2025-10-10T20:00:00",
                "BREAKWATER_API_KEY_FILE": "/key",
            }
        )
    text = str(caught.value)
    for part in (
        "RM_MAX_POSITION_USD='lots': give a number",
        "RM_MAX_LEVERAGE='-3x': give a number above 0",
        "QT_PAPER_TRADING='maybe': give true or false",
        "QT_EXECUTION_EXCHANGE='mt-gox': only binance-futures",
        "REDIS_URL='redis.local:6379': give a URL that begins with redis://",
        "BREAKWATER_HTTP_PORT='99999'",
        "BREAKWATER_SPEED='max'",
        "BREAKWATER_DESK='Main Desk'",
        "say which time zone",
        "BREAKWATER_API_SECRET_FILE is missing although BREAKWATER_API_KEY_FILE is set",
        "BREAKWATER_WALL_ANCHOR is missing",
    ):
        assert part in text
    assert len(caught.value.problems) == 11


def test_settings_of_a_pod_are_read_and_contradictions_are_named() -> None:
    pod = {
        "BREAKWATER_CLOCK": "venue",
        "BREAKWATER_VENUE_URL": "http://main-paper-venue.desk-a.svc:8080",
        "BREAKWATER_MARKET_START": "2025-10-10T20:00:00Z",
        "BREAKWATER_CRASH_AFTER_MINUTES": "30",
        "BREAKWATER_VENUE_FILLS": "book",
        "BREAKWATER_POLICY_MIRROR": "/etc/breakwater/policy/policy.json",
        "BREAKWATER_NAMESPACE": "desk-a",
        "BREAKWATER_STOP": "main",
    }
    found = load_settings(pod)
    assert (found.clock, found.namespace, found.stop_name, found.crash_after_minutes) == ("venue", "desk-a", "main", 30)
    assert found.venue_fills == "book"
    assert (found.market_start, found.policy_mirror) == (
        datetime(2025, 10, 10, 20, tzinfo=UTC),
        Path("/etc/breakwater/policy/policy.json"),
    )
    wrong = {
        "BREAKWATER_CLOCK": "venue",
        "BREAKWATER_SPEED": "20",
        "QT_PAPER_TRADING": "false",
        "STAGING_MODE": "true",
        "BREAKWATER_CRASH_AFTER_MINUTES": "1441",
        "BREAKWATER_VENUE_FILLS": "half",
    }
    with pytest.raises(SettingsError) as caught:
        load_settings(wrong)
    text = str(caught.value)
    for part in (
        "BREAKWATER_CRASH_AFTER_MINUTES='1441': give whole minutes from 1 to 1440",
        "leave out BREAKWATER_SPEED",
        "BREAKWATER_VENUE_FILLS='half': give full or book",
        "BREAKWATER_CLOCK=venue needs BREAKWATER_VENUE_URL",
        "BREAKWATER_CLOCK=venue belongs to Paper",
    ):
        assert part in text
    assert len(caught.value.problems) == 5


def test_bad_url_with_a_password_is_not_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"REDIS_URL": "http://me:hunter2@host"})
    assert "hunter2" not in str(caught.value)


def test_secret_file_missing_or_empty_is_named(tmp_path: Path) -> None:
    (tmp_path / "good").write_text("s3cret\n")
    (tmp_path / "empty").write_text(" \n")
    assert read_secret(tmp_path / "good", "API key") == "s3cret"
    with pytest.raises(SettingsError, match=r"API key.*missing.*No such file"):
        read_secret(tmp_path / "missing", "API key")
    with pytest.raises(SettingsError, match="is empty"):
        read_secret(tmp_path / "empty", "API key")


@pytest.fixture
def logs() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure_logging(format_="json", stream=stream, desk="main", component="execution")
    yield stream
    structlog.reset_defaults()
    logging.basicConfig(handlers=[], force=True)


def test_log_line_is_json_in_utc_with_its_context(logs: io.StringIO) -> None:
    structlog.get_logger("x").info("order sent", symbol="BTCUSDT", quantity=Decimal("0.001"))
    line = json.loads(logs.getvalue())
    assert line["event"] == "order sent"
    assert (line["component"], line["quantity"], line["level"]) == ("execution", "0.001", "info")
    assert line["time"].endswith("Z")


def test_secrets_never_reach_the_log(logs: io.StringIO) -> None:
    redactor.register("canary-4711")
    log = structlog.get_logger("x")
    log.info("a canary-4711 b", api_key="k1", nested={"secret": "k2", "list": ["canary-4711"]}, key_count=3)
    log.info("GET /order?symbol=B&signature=k3&x=1 at redis://user:k4@host/0", headers=b"canary-4711")
    try:
        raise ValueError("failed with canary-4711")
    except ValueError:
        log.exception("oops")
    logging.getLogger("library").error("connecting with canary-4711")
    text = logs.getvalue()
    for secret in ("canary-4711", "k1", "k2", "k3", "k4"):
        assert secret not in text
    assert "failed with [redacted]" in text
    assert "&x=1" in text
    assert '"key_count": 3' in text
    assert len(text.splitlines()) == 4


def test_metrics_exist_from_the_start_with_the_projects_names() -> None:
    metrics = Metrics(desk="main", component="execution", version="0.1.0")
    metrics.set_stop_state(StopState.ARMED)
    metrics.count_order("filled")
    metrics.count_refusal(RefusalCode.STOP_TRIPPED)
    metrics.set_pct(metrics.drawdown, Decimal("1.5"))
    metrics.watch_connected(lambda: True)
    text = metrics.render().decode()
    labels = 'component="execution",desk="main"'
    for line in (
        f'breakwater_stop_state{{{labels},state="ARMED"}} 1.0',
        f'breakwater_stop_state{{{labels},state="TRIPPED"}} 0.0',
        f'breakwater_orders_total{{{labels},outcome="filled"}} 1.0',
        f'breakwater_orders_total{{{labels},outcome="failed"}} 0.0',
        f'breakwater_refusals_total{{code="STOP_TRIPPED",{labels}}} 1.0',
        f'breakwater_refusals_total{{code="EXPOSURE",{labels}}} 0.0',
        f"breakwater_daily_drawdown_ratio{{{labels}}} 0.015",
        f"breakwater_bus_connected{{{labels}}} 1.0",
        f"breakwater_gate_open{{{labels}}} 0.0",
        f'breakwater_build_info{{{labels},version="0.1.0"}} 1.0',
    ):
        assert line in text, line
    with pytest.raises(ValueError, match="not one of"):
        metrics.count_order("vanished")
