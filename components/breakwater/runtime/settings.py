"""Settings of a process, from environment variables. Names of the seed stay; Breakwater's own begin with ``BREAKWATER_``.

Parsed once, at the edge, from a mapping that is handed in; every mistake is reported at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from breakwater.domain.ids import DeskId
from breakwater.domain.policy import TradingMode
from breakwater.runtime.redis_urls import parse_server_url

T = TypeVar("T")


class SettingsError(Exception):
    """One or more variables are wrong. ``problems`` has one sentence each: variable, value, remedy."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


DEFAULT_VENUE_ADDRESS = "default"

LIMIT_VARIABLES = {
    "RM_MAX_POSITION_USD": "max_position_margin_usd",
    "RM_MIN_POSITION_USD": "min_position_margin_usd",
    "RM_MAX_LEVERAGE": "max_leverage",
    "RM_RISK_PER_TRADE_PCT": "base_risk_per_trade_pct",
    "RM_MAX_RISK_PCT": "max_risk_per_position_pct",
    "RM_MAX_EXPOSURE_PCT": "max_exposure_pct",
    "RM_MAX_CONCURRENT_TRADES": "max_concurrent_positions",
}
"""The seed's variables and the limit of the policy that each sets."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where a process runs and what it talks to. What it may risk comes from the policy; ``limits`` are explicit overrides."""

    desk: DeskId
    state_dir: Path
    policy_file: Path | None
    http_host: str
    http_port: int
    redis_url: str | None
    """None: start an embedded server."""
    redis_server: str | None
    """Binary of the embedded server, if a certain one is wanted."""
    exchange: str
    market_type: str
    mode: TradingMode
    venue_url: str | None
    venue_ws_url: str | None
    venue_fallback_urls: tuple[str, ...]
    """Further addresses of the same venue, for when the first one fails."""
    venue_fallback_ws_urls: tuple[str, ...]
    venue_address: str
    """Names the network address from which this process reaches the venue: processes with the same one share its limits."""
    api_key_file: Path | None
    api_secret_file: Path | None
    token_file: Path | None
    """Holds the token that guards this process' own HTTP endpoints."""
    speed: float
    """Market seconds per wall second; more than 0, at most 60."""
    market_anchor: datetime | None
    wall_anchor: datetime | None
    market: str
    """The paper venue's market: ``synthetic[:SEED]``, ``replay:FILE[,FILE]``, ``capture:FILE[,FILE]`` or ``live[:URL]``."""
    symbols: tuple[str, ...]
    """Symbols the paper venue lists besides the usual ones."""
    market_start: datetime | None
    """Market time at which the paper venue's replay starts trading."""
    crash_after_minutes: int | None
    """Market minutes from the start of the paper venue's synthetic market to its crash."""
    venue_fills: str
    """``full``: orders fill at once at the paper venue; ``book``: from a book of limited depth."""
    venue_accounts: Path | None
    """File with the paper venue's accounts; None: the desk's own alone."""
    faults: Path | None
    """Plan of what goes wrong at the paper venue."""
    faults_api: bool
    """Whether the paper venue's faults can be changed over HTTP."""
    clock: str
    """``wall``: anchors and speed from here; ``venue``: asked of the paper venue."""
    policy_mirror: Path | None
    """One more copy of the policy to read, where somebody else keeps one."""
    namespace: str
    stop_name: str
    """Name of the EmergencyStop resource, for the page; empty where there is none."""
    log_format: str
    log_level: str
    limits: dict[str, Decimal]
    """By the policy's name of the limit, only those that were set."""


def load_settings(environment: Mapping[str, str]) -> Settings:
    """Parse and check. A variable that is set but empty counts as not set. Raises SettingsError with all mistakes."""
    reader = _Reader(environment)
    paper = reader.get("QT_PAPER_TRADING", _boolean, True)
    staging = reader.get("STAGING_MODE", _boolean, False)
    mode = TradingMode.PAPER if paper else TradingMode.STAGING if staging else TradingMode.LIVE
    values: dict[str, Any] = {
        "desk": DeskId(reader.get("BREAKWATER_DESK", _desk, "main")),
        "state_dir": reader.get("BREAKWATER_STATE_DIR", _path, Path(".breakwater")),
        "policy_file": reader.get("BREAKWATER_POLICY_FILE", _path, None),
        "http_host": reader.get("BREAKWATER_HTTP_HOST", _text, "127.0.0.1"),
        "http_port": reader.get("BREAKWATER_HTTP_PORT", _port, 8080),
        "redis_url": reader.get("REDIS_URL", parse_redis_url, None),
        "redis_server": reader.get("BREAKWATER_REDIS_SERVER", _text, None),
        "exchange": reader.get("QT_EXECUTION_EXCHANGE", _choice("binance-futures"), "binance-futures"),
        "market_type": reader.get("QT_MARKET_TYPE", _choice("usdm_perp"), "usdm_perp"),
        "mode": mode,
        "venue_url": reader.get("BREAKWATER_VENUE_URL", _url("http", "https"), None),
        "venue_ws_url": reader.get("BREAKWATER_VENUE_WS_URL", _url("ws", "wss"), None),
        "venue_fallback_urls": reader.get("BREAKWATER_VENUE_FALLBACK_URLS", _urls("http", "https"), ()),
        "venue_fallback_ws_urls": reader.get("BREAKWATER_VENUE_FALLBACK_WS_URLS", _urls("ws", "wss"), ()),
        "venue_address": reader.get("BREAKWATER_VENUE_ADDRESS", _desk, DEFAULT_VENUE_ADDRESS),
        "api_key_file": reader.get("BREAKWATER_API_KEY_FILE", _path, None),
        "api_secret_file": reader.get("BREAKWATER_API_SECRET_FILE", _path, None),
        "token_file": reader.get("BREAKWATER_TOKEN_FILE", _path, None),
        "speed": reader.get("BREAKWATER_SPEED", _speed, 1.0),
        "market_anchor": reader.get("BREAKWATER_MARKET_ANCHOR", _moment, None),
        "wall_anchor": reader.get("BREAKWATER_WALL_ANCHOR", _moment, None),
        "market": reader.get("BREAKWATER_MARKET", _text, "synthetic"),
        "symbols": reader.get("BREAKWATER_SYMBOLS", _symbols, ()),
        "market_start": reader.get("BREAKWATER_MARKET_START", _moment, None),
        "crash_after_minutes": reader.get("BREAKWATER_CRASH_AFTER_MINUTES", _minutes, None),
        "venue_fills": reader.get("BREAKWATER_VENUE_FILLS", _choice("full", "book"), "full"),
        "venue_accounts": reader.get("BREAKWATER_VENUE_ACCOUNTS", _path, None),
        "faults": reader.get("BREAKWATER_FAULTS", _path, None),
        "faults_api": reader.get("BREAKWATER_FAULTS_API", _boolean, False),
        "clock": reader.get("BREAKWATER_CLOCK", _choice("wall", "venue"), "wall"),
        "policy_mirror": reader.get("BREAKWATER_POLICY_MIRROR", _path, None),
        "namespace": reader.get("BREAKWATER_NAMESPACE", _text, ""),
        "stop_name": reader.get("BREAKWATER_STOP", _text, ""),
        "log_format": reader.get("BREAKWATER_LOG_FORMAT", _choice("auto", "json", "pretty"), "auto"),
        "log_level": reader.get("BREAKWATER_LOG_LEVEL", _choice("debug", "info", "warning", "error"), "info"),
        "limits": {},
    }
    for variable, limit in LIMIT_VARIABLES.items():
        value = reader.get(variable, _positive, None)
        if value is not None:
            values["limits"][limit] = value
    reader.both_or_neither("BREAKWATER_API_KEY_FILE", "BREAKWATER_API_SECRET_FILE")
    reader.both_or_neither("BREAKWATER_MARKET_ANCHOR", "BREAKWATER_WALL_ANCHOR")
    if mode is TradingMode.LIVE and values["speed"] != 1.0:
        reader.problems.append("BREAKWATER_SPEED must be 1 when QT_PAPER_TRADING and STAGING_MODE are false (live)")
    if values["clock"] == "venue" and (values["market_anchor"] or values["speed"] != 1.0):
        reader.problems.append(
            "BREAKWATER_CLOCK=venue takes speed and anchors from the paper venue: leave out BREAKWATER_SPEED, "
            "BREAKWATER_MARKET_ANCHOR and BREAKWATER_WALL_ANCHOR"
        )
    if values["clock"] == "venue" and values["venue_url"] is None:
        reader.problems.append("BREAKWATER_CLOCK=venue needs BREAKWATER_VENUE_URL, the paper venue's address")
    if values["clock"] == "venue" and mode is not TradingMode.PAPER:
        reader.problems.append("BREAKWATER_CLOCK=venue belongs to Paper: other modes live by the wall clock")
    if reader.problems:
        raise SettingsError(reader.problems)
    return Settings(**values)


def read_secret(path: Path, purpose: str) -> str:
    """Content of a secret's file, without surrounding white space. Raises SettingsError; never shows the content."""
    try:
        secret = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(
            [f"{purpose}: {path} cannot be read: {reason}; check the path and its permissions"]
        ) from None
    if not secret:
        raise SettingsError([f"{purpose}: {path} is empty; put the secret into it"])
    return secret


class _Reader:
    """Reads variables one by one and collects what is wrong with them."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.problems: list[str] = []

    def get(self, name: str, parse: Callable[[str], Any], default: Any) -> Any:
        text = self._environment.get(name, "").strip()
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as error:
            # A URL may carry a password.
            shown = "(not shown)" if "@" in text else repr(text)
            self.problems.append(f"{name}={shown}: {error}")
            return default

    def both_or_neither(self, one: str, other: str) -> None:
        missing = [name for name in (one, other) if not self._environment.get(name, "").strip()]
        if len(missing) == 1:
            given = other if missing[0] == one else one
            self.problems.append(f"{missing[0]} is missing although {given} is set: set both or neither")


def _text(text: str) -> str:
    return text


def _symbols(text: str) -> tuple[str, ...]:
    symbols = tuple(symbol.strip() for symbol in text.split(","))
    if not all(symbol.isalnum() and symbol.isupper() for symbol in symbols):
        raise ValueError("must be symbols with commas between them, for example BTCUSDT,ETHUSDT")
    return symbols


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _boolean(text: str) -> bool:
    if text.lower() in {"true", "1", "yes", "on"}:
        return True
    if text.lower() in {"false", "0", "no", "off"}:
        return False
    raise ValueError("give true or false")


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in allowed:
            raise ValueError(f"give {' or '.join(allowed)}" if len(allowed) > 1 else f"only {allowed[0]} is supported")
        return text.lower()

    return parse


def _desk(text: str) -> str:
    if len(text) > 63 or not all(c.isascii() and (c.islower() or c.isdigit() or c == "-") for c in text):
        raise ValueError("give at most 63 lower-case letters, digits and '-', as in a Kubernetes name")
    return text


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 <= int(text) <= 65535:
        raise ValueError("give a port number from 1 to 65535, or 0 for any free one")
    return int(text)


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        parts = urlsplit(text)
        if parts.scheme not in schemes or not parts.netloc:
            raise ValueError(f"give a URL that begins with {' or '.join(scheme + '://' for scheme in schemes)}")
        return text

    return parse


def _urls(*schemes: str) -> Callable[[str], tuple[str, ...]]:
    parse_one = _url(*schemes)
    return lambda text: tuple(parse_one(part.strip()) for part in text.split(","))


def parse_redis_url(text: str) -> str:
    """``text``, if it is the URL of a Redis (redis_urls). Raises ValueError with the remedy."""
    parse_server_url(text)
    return text


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError("give a number") from None
    if not number.is_finite():
        raise ValueError("give a finite number")
    return number


def _positive(text: str) -> Decimal:
    """A limit; the seed writes some as ``30.0x`` or ``10.0%``."""
    number = _number(text.removesuffix("x").removesuffix("%"))
    if number <= 0:
        raise ValueError("give a number above 0")
    return number


def _speed(text: str) -> float:
    number = _number(text)
    if not 0 < number <= 60:
        raise ValueError("give a number above 0 and at most 60")
    return float(number)


def _minutes(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1440:
        raise ValueError("give whole minutes from 1 to 1440")
    return int(text)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("give a time such as 2025-10-10T20:00:00Z") from None
    if moment.tzinfo is None:
        raise ValueError("say which time zone, for example 2025-10-10T20:00:00Z")
    return moment.astimezone(UTC)
