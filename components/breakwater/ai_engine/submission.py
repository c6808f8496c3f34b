"""A signal as somebody outside writes it (HTTP body, line of a file): parsed here, trusted afterwards."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated

import msgspec
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from breakwater.ai_engine.source import Opinion
from breakwater.domain.ids import Symbol
from breakwater.domain.signals import Direction

_REMEDIES = {
    "id": "1 to 64 characters out of letters, digits and . _ : -, or leave it out",
    "time": "ISO 8601 with a time zone, for example 2025-10-10T20:00:00Z",
    "symbol": "capital letters and digits, for example BTCUSDT",
    "direction": "LONG or SHORT",
    "confidence": "a number from 0 to 1, for example 0.75",
    "stop_pct": "percent of the price, above 0 and below 50, for example 2",
    "target_pct": "percent of the price, above 0 and below 100, or leave it out",
    "horizon_seconds": "whole seconds from 1 to 86400, or leave it out for 60",
    "source": "1 to 40 characters out of letters, digits and . _ -, or leave it out",
    "models": "up to 20 names, or leave it out",
}


class SubmittedSignal(BaseModel):
    """``stop_pct`` is required: without it the loss cannot be bounded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    symbol: Annotated[str, Field(pattern=r"^[A-Z0-9]{5,20}$")]
    direction: Direction
    confidence: Annotated[Decimal, Field(ge=0, le=1, decimal_places=6)]
    stop_pct: Annotated[Decimal, Field(gt=0, lt=50, decimal_places=6)]
    target_pct: Annotated[Decimal, Field(gt=0, lt=100, decimal_places=6)] | None = None
    horizon_seconds: Annotated[int, Field(ge=1, le=86400)] = 60
    time: AwareDatetime | None = None
    """When the opinion was formed, market time; now when left out."""
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$")] | None = None
    """The sender's own id: the same one again is the same signal."""
    source: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,40}$")] = "external"
    models: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=80)], ...], Field(max_length=20)] = ()

    def opinion(self, *, time: datetime | None) -> Opinion:
        return Opinion(
            Symbol(self.symbol),
            self.direction,
            self.confidence,
            self.stop_pct,
            self.target_pct,
            timedelta(seconds=self.horizon_seconds),
            time,
        )


class FieldProblem(msgspec.Struct, frozen=True):
    """One thing wrong with a submitted signal."""

    field: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}; give {self.remedy}"


class BadSignal(Exception):
    """Not a signal; ``problems`` lists every field in question."""

    def __init__(self, problems: list[FieldProblem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


def parse_signal(data: bytes | str) -> SubmittedSignal:
    """Parse one JSON object. Raises BadSignal."""
    try:
        return SubmittedSignal.model_validate_json(data)
    except ValidationError as error:
        raise BadSignal([_problem(item["loc"], item["type"], item["msg"]) for item in error.errors()]) from None


def _problem(location: tuple[int | str, ...], kind: str, message: str) -> FieldProblem:
    field = str(location[0]) if location else "(whole signal)"
    if kind == "json_invalid" or not location:
        return FieldProblem(
            "(whole signal)", message, 'one JSON object like {"symbol": "BTCUSDT", "direction": "LONG", ...}'
        )
    if kind == "extra_forbidden":
        known = ", ".join(SubmittedSignal.model_fields)
        return FieldProblem(field, "is not a field of a signal", f"only these: {known}")
    return FieldProblem(field, message, _REMEDIES.get(field, "a valid value"))
