"""Logs: structured, times in UTC, readable on a terminal and JSON elsewhere, secrets never in them."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

REDACTED = "[redacted]"

_SECRET_KEY = re.compile(
    r"(^|_|-)(secret|password|passwd|token|api_?key|apikey|signature|authorization|private_?key|credential)s?($|_|-)",
    re.IGNORECASE,
)
# Signed requests and URLs carry secrets inside longer texts.
_SECRET_TEXT = re.compile(
    r"((?:signature|token|api_?key|listenKey|password)=)[^&\s\"']+|(://[^:/@\s]*:)[^@\s]+(?=@)", re.IGNORECASE
)
_MIN_SECRET_LENGTH = 4


class Redactor:
    """A structlog processor that blanks values under secret keys, and registered secrets wherever they stand."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()

    def register(self, secret: str) -> None:
        """Never let this value into a log. Values under four characters are ignored: they would blank ordinary words."""
        if len(secret) >= _MIN_SECRET_LENGTH:
            self._secrets.add(secret)

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        for key in list(event):
            event[key] = REDACTED if _SECRET_KEY.search(key) else self.clean(event[key])
        return event

    def clean(self, value: Any) -> Any:
        """``value`` without secrets, containers included. Anything but plain data is turned into its text first."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {
                key: REDACTED if isinstance(key, str) and _SECRET_KEY.search(key) else self.clean(item)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self.clean(item) for item in value]
        text = (
            value
            if isinstance(value, str)
            else value.decode(errors="replace")
            if isinstance(value, bytes)
            else str(value)
        )
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return _SECRET_TEXT.sub(lambda match: (match.group(1) or match.group(2)) + REDACTED, text)


redactor = Redactor()
"""The one in use after ``configure_logging``."""


class _StandardHandler(logging.Handler):
    """Passes what libraries log through the standard library on to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            text = f"{record.msg!r} (arguments do not fit)"
        structlog.get_logger(record.name).log(record.levelno, text, exc_info=record.exc_info or None)


def configure_logging(
    *, format_: str = "auto", level: str = "info", stream: TextIO | None = None, **context: str
) -> None:
    """Set up logging of this process. ``format_`` is ``json``, ``pretty`` or ``auto`` (pretty on a terminal).

    ``context`` (desk, component) is put on every line. Libraries' own logs go the same way, from WARNING up.
    """
    target = stream or sys.stderr
    pretty = format_ == "pretty" or (format_ == "auto" and target.isatty())
    threshold = logging.getLevelNamesMapping()[level.upper()]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if pretty
        else structlog.processors.JSONRenderer()
    )

    def add_context(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        for key, value in context.items():
            event.setdefault(key, value)
        return event

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_context,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,  # before redaction: tracebacks hold secrets too
            redactor,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(target),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_StandardHandler()], level=max(threshold, logging.WARNING), force=True)
