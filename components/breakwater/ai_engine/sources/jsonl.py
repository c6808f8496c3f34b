"""Signals from a file, one JSON object a line, each due at its own market time."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import re
from collections.abc import Callable

import msgspec
import structlog

from breakwater.ai_engine.source import Emit, Opinion, SignalSource
from breakwater.ai_engine.submission import BadSignal, FieldProblem, parse_signal
from breakwater.runtime.clocks import InfraClock, MarketClock
from breakwater.runtime.lifecycle import Check

log = structlog.get_logger(__name__)

POLL_SECONDS = 1.0
"""How often a followed file is looked at, infrastructure time."""
KEPT_PROBLEMS = 20

ReadFrom = Callable[[int], bytes]
"""The file's bytes from an offset on. Raises OSError."""


class SignalFileError(Exception):
    """The file cannot be used at all; the sentence names it and what to do."""


class JsonlSource(SignalSource):
    """Replays the signals of a file by market time; with ``follow`` takes lines that are appended while it runs.

    A line that is no signal is reported with file and line number and skipped. Signals whose time was over before they
    were read are counted as late, not sent. ``read`` gives the file's bytes from an offset.
    """

    def __init__(self, file: str, read: ReadFrom, infra: InfraClock, *, follow: bool = False) -> None:
        self.name = "file:" + re.sub(r"[^A-Za-z0-9._-]", "_", file.rsplit("/", 1)[-1])
        self._file = file
        self._read = read
        self._infra = infra
        self._follow = follow
        self._offset = 0
        self._line = 0
        self._partial = b""
        self._due: list[tuple[float, int, Opinion]] = []
        self._changed = asyncio.Event()
        self.problems: list[str] = []
        """The first problems, each naming file, line, field and remedy."""
        self.bad_lines = 0
        self.late = 0
        self._take_new_lines()

    def check(self) -> Check:
        bad = f"{self.bad_lines} bad line(s), first: {self.problems[0]}" if self.problems else ""
        return Check(ok=not self.bad_lines, detail=bad)

    async def run(self, emit: Emit, clock: MarketClock) -> None:
        if not self._follow:
            self._end_of_file()
            await self._send_due(emit, clock)
            return
        follower = asyncio.ensure_future(self._keep_reading())
        try:
            while True:
                await self._send_due(emit, clock)
                self._changed.clear()
                if not self._due:
                    waiting = asyncio.ensure_future(self._changed.wait())
                    await asyncio.wait({waiting, follower}, return_when=asyncio.FIRST_COMPLETED)
                    waiting.cancel()
                if follower.done():
                    follower.result()  # it only ends by failing
        finally:
            follower.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await follower

    async def _keep_reading(self) -> None:
        while True:
            await self._infra.sleep(POLL_SECONDS)
            self._take_new_lines()

    async def _send_due(self, emit: Emit, clock: MarketClock) -> None:
        while self._due:
            _, _, opinion = self._due[0]
            assert opinion.time is not None  # checked when read
            if opinion.time > clock.now():
                await self._wait_for(clock, opinion)
                continue  # an earlier line may have been appended meanwhile
            heapq.heappop(self._due)
            if clock.now() >= opinion.time + opinion.horizon:
                self.late += 1
                continue
            await emit(opinion)

    async def _wait_for(self, clock: MarketClock, opinion: Opinion) -> None:
        assert opinion.time is not None
        self._changed.clear()
        sleeping = asyncio.ensure_future(clock.sleep_until(opinion.time))
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({sleeping, changed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            changed.cancel()

    # ------------------------------------------------------------------------------------------------ reading

    def _take_new_lines(self) -> None:
        try:
            data = self._read(self._offset)
        except OSError as error:
            raise SignalFileError(
                f"{self._file} cannot be read: {error.strerror or error}: check the path and its permissions"
            ) from error
        self._offset += len(data)
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._take_line(line)
        if lines:
            self._changed.set()

    def _end_of_file(self) -> None:
        """The last line of a file that does not grow may lack its newline."""
        line, self._partial = self._partial, b""
        if line:
            self._take_line(line)

    def _take_line(self, line: bytes) -> None:
        self._line += 1
        if not line.strip():
            return
        try:
            signal = parse_signal(line)
            if signal.time is None:
                raise BadSignal(
                    [FieldProblem("time", "is missing", "when the signal is due, for example 2025-10-10T20:00:00Z")]
                )
        except BadSignal as error:
            self.bad_lines += 1
            problem = f"{self._file} line {self._line}: {error}"
            if len(self.problems) < KEPT_PROBLEMS:
                self.problems.append(problem)
            log.error("signal line skipped", problem=problem)
            return
        key = signal.id or f"line{self._line}"
        opinion = msgspec.structs.replace(signal.opinion(time=signal.time), key=key)
        heapq.heappush(self._due, (signal.time.timestamp(), self._line, opinion))


def read_from(path: str) -> ReadFrom:
    """Reads ``path`` on disk, for `JsonlSource`."""

    def read(offset: int) -> bytes:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read()

    return read
