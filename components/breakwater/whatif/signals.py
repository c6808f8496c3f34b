"""Recorded signals from a file of JSON lines. Here every line counts: a replay with half the signals answers another question."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from breakwater.ai_engine.submission import BadSignal, parse_signal
from breakwater.desk.recording import Given
from breakwater.desk.sources import DeskInputError
from breakwater.domain.ids import SignalId, Symbol
from breakwater.domain.signals import DataKind, Provenance, Signal

BUILT_IN = ("long", "momentum")
MOST_PROBLEMS = 5


def read_signals(path: Path, symbols: Iterable[str]) -> list[Given]:
    """The signals of ``path`` in the order of their times, as ``POST /v1/signals`` takes them, each with a ``time``.

    Raises DeskInputError that names file, line and field for anything that is no signal, times that go back, and
    symbols that the market does not have, and ids given twice.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DeskInputError(
            f"signals {path}: {error.strerror or error}; name {', '.join(BUILT_IN)}, or a file with one JSON signal a line"
        ) from error
    known = set(symbols)
    name = re.sub(r"[^A-Za-z0-9._-]", "_", path.name)
    found: list[Given] = []
    problems: list[str] = []
    lines_of: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        try:
            sent = parse_signal(line)
        except BadSignal as error:
            problems.append(f"{where}: {error}")
            continue
        if sent.time is None:
            problems.append(f"{where}: time: is missing; give when the signal is due, like 2025-10-10T20:00:00Z")
        elif sent.symbol not in known:
            problems.append(f"{where}: symbol: {sent.symbol} has no candles; the market has {', '.join(sorted(known))}")
        elif found and sent.time < found[-1].time:
            problems.append(f"{where}: time: {sent.time.isoformat()} is before the line above; sort the lines by time")
        elif sent.id and sent.id in lines_of:
            problems.append(
                f"{where}: id: {sent.id!r} stands on line {lines_of[sent.id]}, too; a desk takes each id once"
            )
        else:
            if sent.id:
                lines_of[sent.id] = number
            opinion = sent.opinion(time=sent.time)
            signal = Signal(
                signal_id=SignalId(f"whatif:{sent.id or f'line{number}'}"),
                symbol=Symbol(sent.symbol),
                direction=sent.direction,
                confidence=sent.confidence,
                time=sent.time,
                horizon=opinion.horizon,
                provenance=Provenance(source=f"file:{name}", data=DataKind.REPLAY, models=sent.models),
                stop_pct=sent.stop_pct,
                target_pct=sent.target_pct,
            )
            found.append(Given(sent.time, signal))
    if problems:
        more = f"\nand {len(problems) - MOST_PROBLEMS} more" if len(problems) > MOST_PROBLEMS else ""
        raise DeskInputError("\n".join(problems[:MOST_PROBLEMS]) + more)
    return found
