"""A further reason to stop is one file, its trigger included: proven on a copy of the rules with one file more."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import breakwater.domain
from breakwater.domain.stop_memory import Latched
from breakwater.domain.stop_state import Trigger

FOURTH = '''
"""Stops the desk when it holds too many positions at once."""

from decimal import Decimal

from breakwater.domain.evaluators.base import Breach, EvaluationInput
from breakwater.domain.stop_state import Trigger

MOST = 1


class Crowd:
    trigger = Trigger("CROWD")
    debounced = True

    def evaluate(self, facts: EvaluationInput) -> Breach | None:
        count = len(facts.snapshot.positions) if facts.snapshot else 0
        if count < MOST:
            return None
        return Breach(self.trigger, Decimal(count), Decimal(MOST), "crowd", f"{count} positions reached the limit of {MOST}")


EVALUATOR = Crowd()
'''

STORY = """
import msgspec

from breakwater.domain.evaluators import EVALUATORS
from breakwater.domain.stop_memory import Latched
from breakwater.domain.stop_state import StopState, Trigger
from conftest import armed_desk

assert [each.trigger for each in EVALUATORS] == ["CROWD", "DAILY_DRAWDOWN", "EXECUTION_ERRORS", "OPEN_LOSS"]
desk = armed_desk()
desk.see(held="0.1")
assert desk.state is StopState.ARMED
desk.wait(1)
desk.see(held="0.1")
assert desk.state is StopState.TRIPPED
trip = desk.memory.latched.trip
assert trip.trigger is Trigger("CROWD") and trip.close_positions, trip
written = msgspec.json.encode(desk.memory.latched)
assert msgspec.json.decode(written, type=Latched) == desk.memory.latched
desk.flat()
desk.wait(900)
desk.report()
desk.see(held="0.1")
refused = desk.reset("r1")
assert not refused.accepted and "positions reached the limit" in refused.text, refused
desk.see()
assert desk.reset("r2").accepted
print("as told")
"""


FAILING = FOURTH.replace(
    "        if count < MOST:",
    '        if count:\n            raise KeyError("no such thing")\n        if count < MOST:',
)

STORY_OF_A_FAILURE = """
from breakwater.domain.stop_state import StopState, Trigger
from breakwater.domain.stop_view import reduce_only_reason
from conftest import armed_desk

desk = armed_desk()
desk.see(held="0.1")
desk.wait(1)
desk.see(held="0.1")
assert desk.state is StopState.ARMED
why = reduce_only_reason(desk.memory, desk.rules, desk.now)
assert why == "the evaluator of CROWD cannot judge: KeyError('no such thing')", why
desk.see()
assert reduce_only_reason(desk.memory, desk.rules, desk.now) == ""
for _ in range(2):
    desk.wait(1)
    desk.see(equity="13000", held="0.1")
assert desk.state is StopState.TRIPPED, "the others judge all the same"
assert desk.memory.latched.trip.trigger is Trigger.DAILY_DRAWDOWN
print("as told")
"""


@pytest.mark.parametrize(
    ("evaluator", "story"), [(FOURTH, STORY), (FAILING, STORY_OF_A_FAILURE)], ids=["works", "fails"]
)
def test_fourth_evaluator_is_one_file_and_its_failure_blinds_no_other(
    tmp_path: Path, evaluator: str, story: str
) -> None:
    domain = Path(breakwater.domain.__file__).parent
    shutil.copytree(domain, tmp_path / "breakwater" / "domain", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "breakwater" / "__init__.py").touch()
    (tmp_path / "breakwater" / "domain" / "evaluators" / "crowd.py").write_text(evaluator)
    search = os.pathsep.join([str(tmp_path), str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-c", story],
        env={**os.environ, "PYTHONPATH": search, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.returncode) == ("as told\n", 0), done.stderr


def test_latch_that_names_the_trigger_of_a_missing_evaluator_is_still_read() -> None:
    read = msgspec.json.decode(b'{"causes":["FUNDING_COST","PERSON"],"standing":{"FUNDING_COST":"1"}}', type=Latched)
    assert read.causes == (Trigger("FUNDING_COST"), Trigger.PERSON)
    assert read.causes[0] is Trigger("FUNDING_COST")
    assert msgspec.json.decode(msgspec.json.encode(read), type=Latched) == read
    assert "FUNDING_COST" not in [each.value for each in Trigger]
    for name in ("", "small", "A" * 33, "A-B"):
        with pytest.raises(ValueError, match="Trigger"):
            Trigger(name)
