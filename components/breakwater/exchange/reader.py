"""Reads fields of a venue's JSON strictly: what is missing or makes no sense is an error that names the field."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from breakwater.domain.money import parse_decimal

E = TypeVar("E", bound=enum.Enum)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS = 4_133_980_800_000  # the year 2101: anything later is not a time but a mistake
_MAX_EXPONENT = 24  # no price, quantity or amount has more digits before or after the point


class VenueReplyError(Exception):
    """A reply of the venue makes no sense. ``what`` names the message, ``field`` the field."""

    def __init__(self, what: str, field: str, problem: str) -> None:
        super().__init__(f"{what}: field {field!r} {problem}")
        self.what = what
        self.field = field


def time_from_ms(milliseconds: int) -> datetime:
    """UTC time of a Unix time in milliseconds, exactly."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


class Reader:
    """One JSON object of the venue. Several names for a field mean: the first one present counts."""

    def __init__(self, raw: object, what: str) -> None:
        if not isinstance(raw, Mapping):
            raise VenueReplyError(what, "(whole reply)", f"must be an object, is {_show(raw)}")
        self.raw: Mapping[str, Any] = raw
        self.what = what

    def __contains__(self, name: str) -> bool:
        return self.raw.get(name) is not None

    def text(self, *names: str) -> str:
        """A non-empty string; whole numbers are taken as their digits (ids come as either)."""
        name, value = self._present(names)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str) or not value:
            raise VenueReplyError(self.what, name, f"must be text, is {_show(value)}")
        return value

    def decimal(self, *names: str, inexact: bool = False) -> Decimal:
        """An exact number: a string or whole number. JSON fractions, which arrive as floats, only when ``inexact``."""
        name, value = self._present(names)
        if isinstance(value, float) and not inexact:
            raise VenueReplyError(self.what, name, f"must be a decimal string, is the float {value!r}")
        try:
            number = parse_decimal(value)
        except ValueError as error:
            raise VenueReplyError(self.what, name, f"must be a number: {error}") from None
        if number and not -_MAX_EXPONENT <= number.adjusted() <= _MAX_EXPONENT:
            raise VenueReplyError(self.what, name, f"is out of all proportion: {_show(value)}")
        return number

    def amount(self, *names: str) -> Decimal:
        """A number that is not negative (a quantity or a price)."""
        value = self.decimal(*names)
        if value < 0:
            raise VenueReplyError(self.what, names[0], f"must not be negative, is {value}")
        return value

    def positive(self, *names: str) -> Decimal:
        """A number above 0."""
        value = self.decimal(*names)
        if value <= 0:
            raise VenueReplyError(self.what, names[0], f"must be above 0, is {value}")
        return value

    def positive_or_none(self, *names: str) -> Decimal | None:
        """A number where the venue writes 0, "" or nothing for "none"."""
        if not any(self.raw.get(name) not in (None, "") for name in names):
            return None
        return self.amount(*(name for name in names if self.raw.get(name) != "")) or None

    def boolean(self, name: str, *, default: bool | None = None) -> bool:
        value = self.raw.get(name, default)
        if isinstance(value, str) and value in {"true", "false"}:
            return value == "true"
        if not isinstance(value, bool):
            raise VenueReplyError(self.what, name, f"must be true or false, is {_show(value)}")
        return value

    def integer(self, *names: str) -> int:
        name, value = self._present(names)
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise VenueReplyError(self.what, name, f"must be a whole number, is {_show(value)}")
        try:
            return int(value)
        except ValueError:
            raise VenueReplyError(self.what, name, f"must be a whole number, is {_show(value)}") from None

    def time(self, *names: str) -> datetime:
        """UTC, from milliseconds since 1970."""
        milliseconds = self.integer(*names)
        if not 0 <= milliseconds <= _LATEST_MS:
            raise VenueReplyError(self.what, names[0], f"is not a time in milliseconds: {milliseconds}")
        return time_from_ms(milliseconds)

    def choice(self, kind: type[E], *names: str, aliases: Mapping[str, E] | None = None) -> E:
        """A member of ``kind`` by value; ``aliases`` are further spellings."""
        text = self.text(*names)
        if aliases and text in aliases:
            return aliases[text]
        try:
            return kind(text)
        except ValueError:
            known = ", ".join(str(member.value) for member in kind)
            raise VenueReplyError(self.what, names[0], f"is {text!r}, known are {known}") from None

    def child(self, name: str) -> Reader:
        return Reader(self.raw.get(name), f"{self.what}.{name}")

    def children(self, name: str) -> list[Reader]:
        return readers(self.raw.get(name), f"{self.what}.{name}")

    def _present(self, names: tuple[str, ...]) -> tuple[str, Any]:
        for name in names:
            if (value := self.raw.get(name)) is not None:
                return name, value
        raise VenueReplyError(self.what, names[0], "is missing")


def readers(raw: object, what: str) -> list[Reader]:
    """Readers over a JSON list of objects."""
    if not isinstance(raw, list | tuple):
        raise VenueReplyError(what, "(whole reply)", f"must be a list, is {_show(raw)}")
    return [Reader(item, f"{what}[{i}]") for i, item in enumerate(raw)]


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
