"""``breakwater throttle`` against a desk that answers."""

from __future__ import annotations

import json
from typing import Any

CLOSED = {
    "limit": 10,
    "closed": [{"symbol": "BTCUSDT", "since": "2025-10-10T20:00:00+00:00", "repeats": 10, "limit": 10}],
    "counts": {"BTCUSDT": 10, "ETHUSDT": 1},
    "answers": [
        {
            "symbol": "ETHUSDT",
            "accepted": True,
            "time": "2025-10-10T19:00:00+00:00",
            "requestedBy": "alice (cli)",
            "reason": "fixed",
        }
    ],
}


def test_show_names_closed_symbols_counts_and_who_enabled_what(breakwater: Any, desk: Any) -> None:
    desk.answers["GET", "/v1/throttle"] = (200, CLOSED)
    found = breakwater("throttle", "show")
    assert found.code == 0
    assert "BTCUSDT closed to entries since 2025-10-10 20:00:00 UTC: 10 identical entries" in found.out
    assert "breakwater throttle enable BTCUSDT" in found.out
    assert "ETHUSDT enabled, asked by alice (cli): fixed" in found.out


def test_show_without_closed_symbols_says_when_one_would_close(breakwater: Any, desk: Any) -> None:
    desk.answers["GET", "/v1/throttle"] = (200, {"limit": 10, "closed": [], "counts": {}, "answers": []})
    assert "closes after 10 identical entries" in breakwater("throttle", "show").out
    found = breakwater("throttle", "show", "--json")
    assert json.loads(found.out)["closed"] == []


def test_enable_sends_who_why_and_an_id_and_reports_the_answer(breakwater: Any, desk: Any) -> None:
    desk.answers["POST", "/v1/throttle/BTCUSDT/enable"] = (200, {"accepted": True, "text": "entries are enabled"})
    found = breakwater("throttle", "enable", "btcusdt", "--reason", "found the loop")
    assert (found.code, found.out) == (0, "✓ entries are enabled\n")
    ((_, _, _, body),) = desk.received
    sent = json.loads(body)
    assert sent["reason"] == "found the loop"
    assert sent["requestID"]
    assert sent["requestedBy"]


def test_enable_of_an_open_symbol_is_refused_with_its_code(breakwater: Any, desk: Any) -> None:
    answer = {"accepted": False, "code": "THROTTLE_NOT_CLOSED", "text": "nothing was done"}
    desk.answers["POST", "/v1/throttle/BTCUSDT/enable"] = (409, answer)
    found = breakwater("throttle", "enable", "BTCUSDT", "--reason", "why not")
    assert found.code == 3
    assert "THROTTLE_NOT_CLOSED: nothing was done" in found.err


def test_enable_without_a_reason_or_a_symbol_does_nothing(breakwater: Any, desk: Any) -> None:
    assert breakwater("throttle", "enable", "BTCUSDT", "--reason", " ").code == 2
    assert breakwater("throttle", "enable", "../stop", "--reason", "x").code == 2
    assert desk.received == []
