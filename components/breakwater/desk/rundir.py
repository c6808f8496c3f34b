"""The state directory of a desk on one machine: who runs here, where it answers, and the token that lets people command it.

Files: ``desk.lock`` (held for as long as the desk runs), ``desk.json`` ({pid, url, desk, started_at}), ``token`` (0600).
The lock, not the pid, says whether a desk runs: the kernel lets go of it on every kind of death, and pids are reused.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import msgspec

HOME_VARIABLE = "BREAKWATER_HOME"
DEFAULT_STATE_DIR = Path(".breakwater")
LOCK_FILE = "desk.lock"

_LOCK_ATTEMPTS = 10
_LOCK_PAUSE_SECONDS = 0.05


class RunDirError(Exception):
    """The state directory cannot be used or holds no running desk. ``remedy`` says what to do about it."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem} {remedy}")
        self.problem, self.remedy = problem, remedy


class DeskAlreadyRuns(RunDirError):
    """Another desk holds this state directory."""


class NoDeskRuns(RunDirError):
    """No desk holds this state directory, or it is not ready to be commanded."""


class DeskRecord(msgspec.Struct, frozen=True):
    """What ``desk.json`` says. ``url`` is the base address of all of the desk's HTTP interfaces, without a final slash."""

    pid: int
    url: str
    desk: str
    started_at: datetime
    """Wall time, UTC."""


class RunningDesk(msgspec.Struct, frozen=True):
    """A desk that runs now, and the token it takes commands with."""

    record: DeskRecord
    token: str


def state_dir_from(environment: Mapping[str, str]) -> Path:
    """``$BREAKWATER_HOME``, else ``./.breakwater``."""
    named = environment.get(HOME_VARIABLE, "").strip()
    return Path(named).expanduser() if named else DEFAULT_STATE_DIR


class RunDir:
    """A desk's own state directory, from the side of the process that runs the desk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock: int | None = None

    def claim(self) -> None:
        """Make the directory (0700) and take its lock. Raises DeskAlreadyRuns, or RunDirError if it cannot be used."""
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(self.root / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(self.root, error) from error
        # Somebody's `status` may hold the lock, shared, for an instant: ask again before giving up.
        for attempt in range(_LOCK_ATTEMPTS):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if attempt + 1 < _LOCK_ATTEMPTS:
                    time.sleep(_LOCK_PAUSE_SECONDS)
            else:
                self._lock = lock
                return
        os.close(lock)
        known = _record(self.root)
        who = f"a desk already runs from {self.root}" + (f" (pid {known.pid}, {known.url})." if known else ".")
        raise DeskAlreadyRuns(
            who, f"Stop it with Ctrl-C, or choose another directory: --state-dir DIR or {HOME_VARIABLE}."
        )

    def token(self) -> str:
        """The desk's token: the one from the last run, else a new one. The file is readable by its owner only."""
        path = self.root / "token"
        try:
            known = path.read_text(encoding="ascii").strip() if path.exists() else ""
            if len(known) >= 32:
                path.chmod(0o600)
                return known
            made = secrets.token_urlsafe(32)
            _replace(path, made.encode() + b"\n")
        except (OSError, UnicodeDecodeError) as error:
            raise _unusable(path, error) from error
        return made

    def publish(self, *, url: str, desk: str, started_at: datetime) -> DeskRecord:
        """Tell the commands where the desk answers. Call it once it does; the lock must be held."""
        if self._lock is None:
            raise RuntimeError("claim() the state directory before publishing into it")
        record = DeskRecord(os.getpid(), url.rstrip("/"), desk, started_at)
        try:
            _replace(self.root / "desk.json", msgspec.json.encode(record) + b"\n")
        except OSError as error:
            raise _unusable(self.root, error) from error
        return record

    def release(self) -> None:
        """Forget the address and let go of the lock. Safe to call twice."""
        if self._lock is not None:
            (self.root / "desk.json").unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None


def find_desk(root: Path) -> RunningDesk:
    """The desk that runs from ``root`` now. Raises NoDeskRuns with what to do."""
    start = "Start one with: breakwater up" + ("" if root == DEFAULT_STATE_DIR else f" --state-dir {root}")
    start += f" (or point --state-dir or {HOME_VARIABLE} at the directory of the one that runs)."
    if not _held(root):
        known = _record(root)
        if known is None:
            raise NoDeskRuns(f"No desk runs from {root}.", start)
        raise NoDeskRuns(f"The desk that ran from {root} (pid {known.pid}) has ended without saying so.", start)
    record = _record(root)
    if record is None:
        raise NoDeskRuns(f"A desk is starting from {root} and does not answer yet.", "Try again in a few seconds.")
    try:
        token = (root / "token").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise NoDeskRuns(
            f"The token in {root / 'token'} cannot be read: {reason}.", "Run this as the user who started the desk."
        ) from error
    return RunningDesk(record, token)


def _held(root: Path) -> bool:
    try:
        lock = os.open(root / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unusable(root / LOCK_FILE, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _record(root: Path) -> DeskRecord | None:
    try:
        return msgspec.json.decode((root / "desk.json").read_bytes(), type=DeskRecord)
    except (OSError, msgspec.DecodeError):
        return None


def _replace(path: Path, data: bytes) -> None:
    """Whole or not at all, and readable by its owner only from the first byte on."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, data)
        os.fsync(handle)
    finally:
        os.close(handle)
    draft.replace(path)


def _unusable(path: Path, error: Exception) -> RunDirError:
    reason = getattr(error, "strerror", None) or str(error)
    return RunDirError(
        f"{path} cannot be used: {reason}.",
        f"Check its permissions, or choose another with --state-dir or {HOME_VARIABLE}.",
    )
