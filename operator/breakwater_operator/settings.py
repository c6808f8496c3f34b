"""Settings of the operator's process, from environment variables. Parsed once; every mistake is reported at the same time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from breakwater.runtime.settings import SettingsError, parse_redis_url, read_secret
from breakwater_operator.desired.inputs import Platform

MIN_KEY_LENGTH = 16


class OperatorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator runs with. ``operator_key`` and ``redis_url`` are secrets."""

    redis_url: str
    operator_key: str
    platform: Platform
    namespaces: tuple[str, ...]
    """Empty: all."""
    http_host: str
    http_port: int
    log_format: str
    log_level: str


VARIABLES: dict[str, str] = {
    "REDIS_URL": "",
    "BREAKWATER_OPERATOR_KEY_FILE": "",
    "BREAKWATER_PLATFORM_FILE": "",
    "BREAKWATER_NAMESPACES": "",
    "BREAKWATER_HTTP_HOST": "0.0.0.0",
    "BREAKWATER_HTTP_PORT": "8080",
    "BREAKWATER_LOG_FORMAT": "auto",
    "BREAKWATER_LOG_LEVEL": "info",
}
"""Every variable with its default; empty: none."""


def load_settings(environment: Mapping[str, str]) -> OperatorSettings:
    """Parse, and read the files that are named. Raises SettingsError with all mistakes."""
    problems: list[str] = []
    text = {name: environment.get(name, "").strip() or default for name, default in VARIABLES.items()}
    values: dict[str, Any] = {
        "redis_url": _redis_url(text["REDIS_URL"], problems),
        "operator_key": _key(text["BREAKWATER_OPERATOR_KEY_FILE"], problems),
        "platform": _platform(text["BREAKWATER_PLATFORM_FILE"], problems),
        "namespaces": tuple(part.strip() for part in text["BREAKWATER_NAMESPACES"].split(",") if part.strip()),
        "http_host": text["BREAKWATER_HTTP_HOST"],
        "http_port": _port(text["BREAKWATER_HTTP_PORT"], problems),
        "log_format": _choice("BREAKWATER_LOG_FORMAT", text, ("auto", "json", "pretty"), problems),
        "log_level": _choice("BREAKWATER_LOG_LEVEL", text, ("debug", "info", "warning", "error"), problems),
    }
    if problems:
        raise SettingsError(problems)
    return OperatorSettings(**values)


def _redis_url(text: str, problems: list[str]) -> str:
    try:
        return parse_redis_url(text)
    except ValueError as error:
        # The URL may carry a password.
        problems.append(f"REDIS_URL: {error}")
        return ""


def _key(path: str, problems: list[str]) -> str:
    if not path:
        problems.append("BREAKWATER_OPERATOR_KEY_FILE must name the file with the key that desks' tokens are made from")
        return ""
    try:
        key = read_secret(Path(path), "BREAKWATER_OPERATOR_KEY_FILE")
    except SettingsError as error:
        problems += error.problems
        return ""
    if len(key) < MIN_KEY_LENGTH:
        problems.append(f"BREAKWATER_OPERATOR_KEY_FILE: the key is shorter than {MIN_KEY_LENGTH} characters")
    return key


def _platform(path: str, problems: list[str]) -> Platform | None:
    if not path:
        problems.append(
            "BREAKWATER_PLATFORM_FILE must name the YAML file that says how desks run (image, storage, ...)"
        )
        return None
    try:
        return Platform.load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, ValueError) as error:
        problems.append(f"BREAKWATER_PLATFORM_FILE: {path}: {error}")
        return None


def _port(text: str, problems: list[str]) -> int:
    if not text.isascii() or not text.isdigit() or not 0 <= int(text) <= 65535:
        problems.append(f"BREAKWATER_HTTP_PORT={text!r}: give a port number from 1 to 65535, or 0 for any free one")
        return 0
    return int(text)


def _choice(name: str, text: Mapping[str, str], allowed: tuple[str, ...], problems: list[str]) -> str:
    if text[name].lower() not in allowed:
        problems.append(f"{name}={text[name]!r}: give {' or '.join(allowed)}")
    return text[name].lower()
