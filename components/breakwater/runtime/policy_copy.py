"""One stored copy of a policy: whole or refused. JSON with a digest over its canonical form, validated like a manifest.

The same bytes lie in the store (Redis) and in the backup file, so that any copy can stand in for any other.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from breakwater.domain.limits import strictness
from breakwater.runtime.manifests import (
    API_VERSION,
    POLICY_KIND,
    STOP_KIND,
    DeskManifests,
    ManifestError,
    policy_from_object,
    stop_from_object,
)
from breakwater.runtime.policy_diff import Change, desk_to_wire

FORMAT = 1
MOST_BYTES = 1024 * 1024
MOST_VERSION = 2**52
MOST_HISTORY = 50

_encoder = msgspec.json.Encoder(order="sorted", decimal_format="number")


class BadCopy(Exception):
    """The copy is half-written, tampered with or not valid. ``claimed_version`` is what it says of itself, if anything."""

    def __init__(self, reason: str, claimed_version: int | None = None) -> None:
        super().__init__(reason)
        self.claimed_version = claimed_version


class HistoryEntry(msgspec.Struct, frozen=True, rename="camel"):
    """One version: who brought it into force, when (wall time), and every field that changed."""

    version: int
    time: datetime
    who: str
    changes: tuple[Change, ...]


class PolicyCopy(msgspec.Struct, frozen=True):
    """A policy as it is stored. ``history`` has the newest last and ends with this version."""

    version: int
    desk: DeskManifests
    history: tuple[HistoryEntry, ...]
    hold: str = ""
    """Why nothing may be opened under this policy, a sentence; empty when it is not on hold."""

    @property
    def content_digest(self) -> str:
        """SHA-256 of what is in force, without version and history: equal for equal policies."""
        return hashlib.sha256(_encoder.encode(desk_to_wire(self.desk) | _held(self.hold))).hexdigest()

    @property
    def rank(self) -> tuple[Any, ...]:
        """The copy with the lowest rank wins: the higher version, on a tie the stricter policy, one on hold first."""
        return (
            -self.version,
            not self.hold,
            strictness(self.desk.policy.spec, self.desk.stop.spec),
            self.content_digest,
        )


def encode_copy(copy: PolicyCopy) -> bytes:
    """The bytes to store. The same copy always gives the same bytes."""
    body = {
        "format": FORMAT,
        "apiVersion": API_VERSION,
        "version": copy.version,
        **desk_to_wire(copy.desk),
        **_held(copy.hold),
        "history": msgspec.to_builtins(copy.history),
    }
    return _encoder.encode({**body, "sha256": _digest(body)})


def shortened(copy: PolicyCopy) -> PolicyCopy:
    """With as much of its history, the newest, as every reader and a ConfigMap take."""
    while len(copy.history) > 1 and len(encode_copy(copy)) > MOST_BYTES // 2:
        copy = msgspec.structs.replace(copy, history=copy.history[len(copy.history) // 2 :])
    return copy


def decode_copy(data: bytes) -> PolicyCopy:
    """The copy that ``data`` holds. Raises BadCopy with the reason when any part of it cannot be trusted."""
    if len(data) > MOST_BYTES:
        raise BadCopy(f"it is {len(data)} bytes long, more than {MOST_BYTES}")
    try:
        body = json.loads(data, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadCopy(f"it is cut short or not JSON ({error})") from None
    if not isinstance(body, dict):
        raise BadCopy("it is not a policy")
    version = body.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= MOST_VERSION:
        raise BadCopy("it has no valid version")
    if body.get("format") != FORMAT:
        raise BadCopy(f"its format is {body.get('format')!r}, this program reads {FORMAT}", version)
    if body.pop("sha256", None) != _digest(body):
        raise BadCopy("its digest does not match its content: it was changed or damaged", version)
    try:
        objects = {kind: {"apiVersion": API_VERSION, "kind": kind, **body[kind]} for kind in (POLICY_KIND, STOP_KIND)}
        desk = DeskManifests(policy_from_object(objects[POLICY_KIND]), stop_from_object(objects[STOP_KIND]))
        history = msgspec.convert(body["history"], tuple[HistoryEntry, ...])
        hold = msgspec.convert(body.get("hold", ""), str)
    except (KeyError, TypeError, ManifestError, msgspec.ValidationError) as error:
        raise BadCopy(f"its content is not valid: {error}", version) from None
    return PolicyCopy(version, desk, history, hold)


def _held(hold: str) -> dict[str, Any]:
    # Left out when empty, so that a copy without a hold is written as it was before there were holds.
    return {"hold": hold} if hold else {}


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(_encoder.encode(body)).hexdigest()


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")
