"""Programs of a cluster that outlive the process that started them.

Each program is recorded with its pid and the kernel's start time of that pid, so that another process can stop it later
and never hits a stranger that was given the same pid.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

POLL_SECONDS = 0.05


class ClusterError(Exception):
    """The cluster, or a part of it, cannot be had; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Record:
    """One started program. `started` is in clock ticks since boot (/proc/PID/stat, field 22)."""

    pid: int
    started: int
    argv: list[str]
    log: str
    environment: dict[str, str]
    cwd: str | None


def start_time(pid: int) -> int | None:
    """The kernel's start time of a living process in ticks; None when there is none or it is a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Poll until the condition holds. Raises ClusterError naming `what` after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise ClusterError(f"{what}: not within {seconds:g} s")
        time.sleep(POLL_SECONDS)


def dying_with_starter(signal_name: str) -> list[str]:
    """The prefix for a program that gets this signal (`KILL`, `TERM`) when the thread that started it is gone."""
    return ["setpriv", "--pdeathsig", signal_name]


class Processes:
    """The recorded programs of one cluster."""

    def __init__(self, record_file: Path) -> None:
        self._file = record_file
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def records(self) -> dict[str, Record]:
        """What was started and not stopped, in the order of starting; entries may have died meanwhile."""
        try:
            found = json.loads(self._file.read_text())
        except FileNotFoundError:
            return {}
        return {name: Record(**fields) for name, fields in found.items()}

    def start(
        self,
        name: str,
        argv: Sequence[str],
        log: Path,
        *,
        environment: dict[str, str] | None = None,
        keep_open: Sequence[int] = (),
        cwd: Path | None = None,
    ) -> None:
        """Start a program in its own process group; its output is appended to `log`.

        `environment` is added to this process's own. `keep_open` are file descriptors that it inherits.
        Raises ClusterError when a program of that name still runs.
        """
        if self.alive(name):
            raise ClusterError(f"{name} runs already (pid {self.records()[name].pid})")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            child = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                pass_fds=tuple(keep_open),
                start_new_session=True,
                cwd=cwd,
            )
        self._children[name] = child
        self._write(
            {
                **self.records(),
                name: Record(
                    pid=child.pid,
                    started=start_time(child.pid) or 0,
                    argv=list(argv),
                    log=str(log),
                    environment=environment or {},
                    cwd=None if cwd is None else str(cwd),
                ),
            }
        )

    def restart(self, name: str) -> None:
        """Start a stopped or dead program again with the arguments it had. Raises KeyError when it never ran here."""
        record = self.records()[name]
        self.start(
            name,
            record.argv,
            Path(record.log),
            environment=record.environment,
            cwd=None if record.cwd is None else Path(record.cwd),
        )

    def alive(self, name: str) -> bool:
        """Whether that very process still runs."""
        child = self._children.get(name)
        if child is not None:
            return child.poll() is None
        record = self.records().get(name)
        return record is not None and start_time(record.pid) == record.started

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the program if it lives; a stranger with its pid is left alone."""
        if self.alive(name):
            os.kill(self.records()[name].pid, number)

    def kill(self, name: str) -> None:
        """SIGKILL, and wait until it is gone. It stays on record, so that `restart` works."""
        self.signal(name, signal.SIGKILL)
        wait_until(lambda: not self.alive(name), 10, f"{name} did not die")

    def stop(self, names: Sequence[str], *, grace_seconds: float) -> None:
        """SIGTERM to all of them at once, SIGKILL to what is left after the grace, then forget them."""
        if not names:
            return
        for name in names:
            self.signal(name, signal.SIGCONT)
            self.signal(name, signal.SIGTERM)
        end = time.monotonic() + grace_seconds
        while any(self.alive(name) for name in names) and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        for name in names:
            self.kill(name)
        self._write({name: record for name, record in self.records().items() if name not in names})

    def dead(self) -> list[str]:
        """Programs that are on record and do not run any more."""
        return [name for name in self.records() if not self.alive(name)]

    def tail(self, name: str, lines: int = 15) -> str:
        """The last lines of a program's log."""
        try:
            text = Path(self.records()[name].log).read_text(errors="replace")
        except (KeyError, FileNotFoundError):
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:])

    def _write(self, records: dict[str, Record]) -> None:
        draft = self._file.with_suffix(".tmp")
        draft.write_text(json.dumps({name: asdict(record) for name, record in records.items()}, indent=2) + "\n")
        os.replace(draft, self._file)
