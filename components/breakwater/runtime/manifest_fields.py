"""Field types of the custom resources: the schema's bounds, patterns and lengths as pydantic annotations.

Each type states its JSON schema in the words of crds/*.yaml, so that a contract test can hold the two against each other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from breakwater.domain.money import parse_decimal, plain

_MOST_DIGITS = 17
"""Kubernetes keeps numbers as 64-bit floats: more digits than this would not come back."""


def canonical_decimal(value: Decimal) -> Decimal:
    """``value`` with one spelling per number, so that 5 and 5.0 are the same policy."""
    return Decimal(plain(value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _kind_of(value: object) -> str:
    match value:
        case bool():
            return "true/false"
        case None:
            return "empty"
        case str():
            return "text"
        case dict():
            return "a group of fields"
        case list() | tuple():
            return "a list"
        case _:
            return "a number"


def _shown(value: object) -> str:
    text = plain(value) if isinstance(value, Decimal) and value.is_finite() else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(frozen=True)
class Number:
    """A Decimal from ``minimum`` to ``maximum``, both allowed. Takes int, Decimal and float (by its shortest spelling)."""

    minimum: str
    maximum: str

    whole = False

    def validate(self, value: Any) -> Decimal | int:
        allowed = f"use a {'whole ' if self.whole else ''}number from {self.minimum} to {self.maximum}"
        if isinstance(value, str):
            raise PydanticCustomError("not_a_number", "is text; " + allowed + ", without quotes")
        if not _is_number(value):
            raise PydanticCustomError("not_a_number", f"is {_kind_of(value)}; " + allowed)
        try:
            number = parse_decimal(value)
        except ValueError:
            raise PydanticCustomError("not_a_number", f"is {_shown(value)}; " + allowed) from None
        if not Decimal(self.minimum) <= number <= Decimal(self.maximum):
            side = "below" if number < Decimal(self.minimum) else "above"
            bound = self.minimum if side == "below" else self.maximum
            raise PydanticCustomError("out_of_bounds", f"{_shown(number)} is {side} {bound}; " + allowed)
        if len(number.normalize().as_tuple().digits) > _MOST_DIGITS:
            raise PydanticCustomError("too_precise", f"has more than {_MOST_DIGITS} digits; " + allowed)
        if not self.whole:
            return canonical_decimal(number)
        if number != number.to_integral_value():
            raise PydanticCustomError("not_whole", f"{_shown(number)} is not whole; " + allowed)
        return int(number)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.validate)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        bounds = {"minimum": Decimal(self.minimum), "maximum": Decimal(self.maximum)}
        return {"type": "integer" if self.whole else "number", **bounds}


@dataclass(frozen=True)
class Whole(Number):
    """An int from ``minimum`` to ``maximum``, both allowed. 5.0 is 5, as on the API server."""

    whole = True


@dataclass(frozen=True)
class Text:
    """A string of ``minimum`` to ``maximum`` characters, matching ``pattern`` as a whole."""

    maximum: int
    minimum: int = 0
    pattern: str | None = None
    example: str = ""

    def validate(self, value: Any) -> str:
        hint = f", for example {self.example}" if self.example else ""
        if not isinstance(value, str):
            quotes = f'; put it in quotes: "{_shown(value)}"' if _is_number(value) or isinstance(value, bool) else hint
            raise PydanticCustomError("not_text", f"is {_kind_of(value)}, not text{quotes}")
        if not self.minimum <= len(value) <= self.maximum:
            raise PydanticCustomError(
                "length", f"has {len(value)} characters; use {self.minimum} to {self.maximum}{hint}"
            )
        if self.pattern is not None and not re.fullmatch(self.pattern.removeprefix("^").removesuffix("$"), value):
            raise PydanticCustomError(
                "pattern",
                "{shown} does not match {pattern}" + hint,
                {
                    "shown": repr(_shown(value)),
                    "pattern": self.pattern,
                },
            )
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.validate)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        found: JsonSchemaValue = {"type": "string", "maxLength": self.maximum}
        if self.minimum:
            found["minLength"] = self.minimum
        if self.pattern is not None:
            found["pattern"] = self.pattern
        return found


@dataclass(frozen=True)
class Moment(Text):
    """A moment to the second, UTC, in this century: ``2025-10-10T20:00:00Z``."""

    maximum: int = 20
    minimum: int = 20
    pattern: str | None = (
        "^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$"
    )

    def validate(self, value: Any) -> str:
        text = super().validate(value)
        try:
            datetime.fromisoformat(text)
        except ValueError:
            raise PydanticCustomError("no_such_day", f"{text} is no day of the calendar; correct the date") from None
        return text
