"""Every event survives the wire exactly; what is not a known event is refused with the field's name."""

from __future__ import annotations

import enum
import types
import typing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from breakwater.domain.ids import DeskId
from breakwater.runtime.events import EVENT_TYPES, Event, EventError, MarkPrice, Payload, decode_event, encode_event

NOW = datetime(2025, 10, 10, 20, 50, 1, 250_000, tzinfo=UTC)
EXACT = Decimal("0.1000000000000000055511151231257827")  # no binary float holds this


def example(kind: Any, *, full: bool) -> Any:
    """An instance of ``kind`` with every optional field set (``full``) or left out."""
    origin = typing.get_origin(kind)
    if isinstance(kind, typing.NewType):
        return example(kind.__supertype__, full=full)
    if origin in {typing.Union, types.UnionType}:
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        return example(options[0], full=full) if full else None
    if origin in {tuple, dict}:
        items = [item for item in typing.get_args(kind) if item is not ...]
        values = [example(item, full=full) for item in items]
        if origin is tuple:
            return (values[0],) if full else ()
        return {values[0]: values[1]} if full else {}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return next(iter(kind))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        return kind(**{name: example(hints[name], full=full) for name in kind.__struct_fields__})
    samples: dict[Any, Any] = {
        str: "text <script> ÅΩ",
        int: 2**53 + 1,
        bool: True,
        Decimal: EXACT,
        datetime: NOW,
        date: NOW.date(),
        timedelta: timedelta(seconds=90),
    }
    return samples[kind]


@pytest.mark.parametrize("full", [True, False], ids=["all fields", "optional fields left out"])
@pytest.mark.parametrize("name", EVENT_TYPES)
def test_event_sent_over_the_wire_arrives_equal(name: str, full: bool) -> None:
    payload = example(EVENT_TYPES[name], full=full)
    event = Event(DeskId("desk-a"), "execution", 3, 7, NOW, name, payload)
    assert decode_event(encode_event(event)) == event


def test_names_and_types_are_one_to_one() -> None:
    assert len(set(EVENT_TYPES.values())) == len(EVENT_TYPES)
    declared = _leaves(Payload)
    assert declared == set(EVENT_TYPES.values()), "a payload type without a name on the bus, or the reverse"


def _leaves(kind: type[Payload]) -> set[type[Payload]]:
    children = kind.__subclasses__()
    return set().union(*(_leaves(child) for child in children)) if children else {kind}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "envelope"),
        (b"not json", "envelope"),
        (b'{"desk":"d"}', "producer"),
        (
            b'{"desk":"d","producer":"p","epoch":1,"sequence":1,"time":"2025-10-10T20:50:00Z","type":"x.y","payload":{}}',
            "x.y",
        ),
        (
            b'{"desk":"d","producer":"p","epoch":1,"sequence":1,"time":"2025-10-10T20:50:00Z","type":"market.mark",'
            b'"payload":{"symbol":"BTCUSDT","price":"abc","time":"2025-10-10T20:50:00Z"}}',
            "price",
        ),
        (b'{"desk":"\xff\xfe"}', "utf-8"),
        (
            b'{"desk":"d","producer":"p","epoch":1,"sequence":1,"time":"2025-10-10T20:50:00Z","type":"market.mark",'
            b'"payload":{"symbol":"\xff","price":"1","time":"2025-10-10T20:50:00Z"}}',
            "utf-8",
        ),
        (b'{"desk":' + b"[" * 100_000, "envelope"),
    ],
)
def test_bytes_that_are_no_event_are_refused_naming_what_is_wrong(data: bytes, says: str) -> None:
    with pytest.raises(EventError, match=says):
        decode_event(data)


def test_price_keeps_every_digit() -> None:
    mark = example(MarkPrice, full=True)
    event = Event(DeskId("d"), "market_data", 1, 1, NOW, "market.mark", mark)
    assert b'"0.1000000000000000055511151231257827"' in encode_event(event)
