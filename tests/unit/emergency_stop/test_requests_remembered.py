"""A request fires at most once, however many came after it."""

from __future__ import annotations

import json
from typing import Any

from breakwater.domain.stop_memory import MAX_FORGOTTEN, MAX_OUTCOMES
from breakwater.domain.stop_state import StopState
from breakwater.emergency_stop.latch import LatchContent, decode_latch, encode_latch


def test_request_repeated_after_a_thousand_others_does_nothing(desk: Any) -> None:
    first = desk.trip("old")
    assert first.accepted
    desk.flat()
    desk.wait(20 * 60)
    desk.see()
    assert desk.reset("r").accepted
    for number in range(1000):
        desk.reset(f"x{number}")
    before = len(desk.facts)
    again = desk.trip("old")
    assert (again.accepted, again.code) == (False, "REQUEST_REPEATED")
    assert "answered before" in again.text
    assert (desk.state, len(desk.facts)) == (StopState.ARMED, before)


def test_memory_of_requests_is_bounded_and_what_is_repeated_stays(desk: Any) -> None:
    desk.trip("kept")
    for number in range(MAX_OUTCOMES + MAX_FORGOTTEN + 500):
        desk.reset(f"x{number}")
        if number % 1000 == 0:
            desk.trip("kept")
    latched = desk.memory.latched
    assert (len(latched.outcomes), len(latched.forgotten)) == (MAX_OUTCOMES, MAX_FORGOTTEN)
    assert desk.trip("kept").code == "REQUEST_REPEATED"
    assert len(encode_latch(LatchContent(1, latched))) < 200_000


def test_latch_of_before_this_was_kept_is_still_read(desk: Any) -> None:
    desk.trip("t1")
    body = json.loads(encode_latch(LatchContent(3, desk.memory.latched)).partition(b"\n")[2])
    del body["latched"]["forgotten"], body["latched"]["outcomes"][0]["who"]
    import hashlib

    old = json.dumps(body).encode()
    found = decode_latch(hashlib.sha256(old).hexdigest().encode() + b"\n" + old).latched
    assert found.outcomes[0].who == ""
    assert found.was_answered(found.outcomes[0].request_id)
