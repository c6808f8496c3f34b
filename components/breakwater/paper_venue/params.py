"""Request parameters: raw text in, typed values or the exchange's own complaints out."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from decimal import Decimal
from urllib.parse import parse_qsl

from breakwater.paper_venue import errors
from breakwater.paper_venue.errors import VenueError

_DECIMAL = re.compile(r"^\d{1,15}(\.\d{1,18})?$")
_INTEGER = re.compile(r"^-?\d{1,18}$")
CLIENT_ID = re.compile(r"^[.A-Z:/a-z0-9_-]{1,36}$")


def parse_params(query: str, body: bytes) -> dict[str, str]:
    """Merge query and form body (the query wins). Raises VenueError -1100 for text that is not UTF-8."""
    try:
        form = body.decode("utf-8", "strict")
        pairs = parse_qsl(form, keep_blank_values=True, errors="strict", max_num_fields=200)
        pairs += parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=200)
    except ValueError as error:
        raise VenueError(-1100, f"Illegal characters or too many fields in the parameters: {error}.") from None
    return dict(pairs)


class Params:
    """Typed access to one request's parameters. Every getter raises VenueError naming the parameter."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def text(self, name: str) -> str | None:
        value = self._values.get(name)
        return value if value else None

    def required(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            raise errors.missing(name)
        return value

    def decimal(self, name: str) -> Decimal | None:
        value = self.text(name)
        if value is None:
            return None
        if not _DECIMAL.match(value):
            raise errors.illegal_characters(name, r"^([0-9]{1,20})(\.[0-9]{1,20})?$")
        return Decimal(value)

    def required_decimal(self, name: str) -> Decimal:
        value = self.decimal(name)
        if value is None:
            raise errors.missing(name)
        return value

    def integer(self, name: str) -> int | None:
        value = self.text(name)
        if value is None:
            return None
        if not _INTEGER.match(value):
            raise errors.malformed(name, "an integer is needed")
        return int(value)

    def required_integer(self, name: str) -> int:
        value = self.integer(name)
        if value is None:
            raise errors.missing(name)
        return value

    def limit(self, default: int, maximum: int) -> int:
        value = self.integer("limit")
        if value is None:
            return default
        if value < 1:
            raise errors.invalid_value("limit", "it must be at least 1")
        return min(value, maximum)

    def boolean(self, name: str) -> bool:
        value = self.text(name)
        if value is None or value.lower() == "false":
            return False
        if value.lower() == "true":
            return True
        raise errors.malformed(name, "true or false is needed")

    def choice(self, name: str, allowed: Collection[str], code: int, message: str) -> str:
        value = self.required(name)
        if value not in allowed:
            raise VenueError(code, message)
        return value

    def client_id(self, name: str) -> str | None:
        value = self.text(name)
        if value is None:
            return None
        if len(value) > 36:
            raise VenueError(-4015, "Client order id is not valid: its length must be at most 36 characters.")
        if not CLIENT_ID.match(value):
            raise errors.illegal_characters(name, r"^[\.A-Z\:/a-z0-9_-]{1,36}$")
        return value

    def window(self) -> tuple[int, int]:
        """startTime and endTime in market ms, both inclusive; open ends are as wide as they can be."""
        start = self.integer("startTime")
        end = self.integer("endTime")
        if start is not None and end is not None and end < start:
            raise VenueError(-1023, "Start time is greater than end time.")
        return (start if start is not None else 0, end if end is not None else 2**62)
