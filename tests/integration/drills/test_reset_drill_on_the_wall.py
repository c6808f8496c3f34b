"""The reset drill's twin on the wall: a real Valkey, real HTTP and WebSocket, the market 60 times faster."""

from __future__ import annotations

import pytest

from breakwater.drills.reset import ResetOptions, run_reset


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_reset_drill_on_real_valkey_and_http_is_passed() -> None:
    report = run_reset(ResetOptions(seed=1, speed=60.0))
    assert (report.verdict, report.problems) == ("PASSED", ())
    assert (report.accepted, report.audit, report.state_at_end) == (1, "OK", "ARMED")
