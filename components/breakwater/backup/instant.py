"""Reads a state directory as it was at one instant: as ``kill -9`` of the desk would have left it then.

Why this is right while the desk runs. Everything a desk on one machine does is caused in its one event loop. `hold` runs there
without giving it back: every file is opened and its size noted. What other threads and the server have under way meanwhile was begun
before, and nothing has yet followed from its end, so that any part of it may be seen, as after a kill. What is read later is the first
``size`` bytes of the very file that was opened: journals only grow, and what is replaced is replaced by another file.
That a desk comes back whole from such a directory is what it promises for every kill -9; a torn tail is part of it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from breakwater.backup.archive import BackupError

SERVER = "valkey"
SERVER_DATA = "appendonlydir"
RECORDER = "recorder"
LOCK = ".lock"
_PASSING = (".new", ".sock", ".pid", ".log", "-reserve")
"""Endings of files that hold nothing to keep: drafts, sockets, process numbers, logs for people, space held in reserve."""
_TRIES = 5


@dataclass(frozen=True)
class HeldFile:
    """An open file and how much of it belongs to the instant (bytes)."""

    path: str
    handle: int
    size: int


def hold(root: Path, *, recording: bool = False) -> list[HeldFile]:
    """Open everything a backup of ``root`` consists of. Call `read` with the result, it closes them. Raises BackupError.

    Left out: the token, logs and locks; with ``recording`` False what the recorder wrote, which no desk needs to go on.
    """
    for _ in range(_TRIES):
        before = _server_manifests(root)
        held: list[HeldFile] = []
        try:
            for path in _files(root, recording=recording):
                handle = _open(root / path)
                if handle is not None:
                    held.append(HeldFile(path, handle, os.fstat(handle).st_size))
        except OSError as error:
            close(held)
            raise _unreadable(root, error) from error
        if _server_manifests(root) == before:
            return held
        close(held)  # the server began other files meanwhile
    raise BackupError("The server rewrites its files all the time.", "Try again in a minute.")


def read(held: Iterable[HeldFile]) -> dict[str, bytes]:
    """The content of what `hold` opened, by path; closes it. Raises BackupError."""
    held = list(held)
    files: dict[str, bytes] = {}
    try:
        for each in held:
            data = _first(each.handle, each.size)
            if len(data) != each.size:
                raise BackupError(f"{each.path} was cut while it was being read.", "Try again.")
            files[each.path] = data
    except OSError as error:
        raise _unreadable(Path(each.path), error) from error
    finally:
        close(held)
    return files


def close(held: Iterable[HeldFile]) -> None:
    """Let go of files that are not wanted after all."""
    for each in held:
        os.close(each.handle)


def user_of(root: Path) -> str:
    """Who has one of the volumes below ``root`` open now, as its lock names it; empty: nobody."""
    for lock in sorted(root.rglob(LOCK)):
        try:
            handle = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(handle, 200, 0).decode(errors="replace").strip() or "an unknown process"
            return f"{lock.parent} is in use by {holder}"
        finally:
            os.close(handle)
    return ""


def _files(root: Path, *, recording: bool) -> Iterator[str]:
    """Paths relative to ``root``, sorted. What stands at the top belongs to one run: lock, address, token, log."""

    def failed(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for folder, below, names in os.walk(root, onerror=failed):
        where = Path(folder).relative_to(root)
        below[:] = sorted(name for name in below if _wanted(where, recording=recording)(name))
        if where.parts[:1] == (SERVER,) and where.parts[1:2] != (SERVER_DATA,):
            continue
        for name in sorted(names):
            passing = name == LOCK or name.endswith(_PASSING) or name.startswith("temp-")
            if where.parts and not passing and not Path(folder, name).is_symlink():
                yield (where / name).as_posix()


def _wanted(where: Path, *, recording: bool) -> Callable[[str], bool]:
    return lambda name: recording or name != RECORDER


def _server_manifests(root: Path) -> list[bytes]:
    """The server's own list of the files that its data consists of; it changes when the server begins other ones."""
    return [path.read_bytes() for path in sorted((root / SERVER / SERVER_DATA).glob("*.manifest"))]


def _open(path: Path) -> int | None:
    """None: it is gone since it was listed, so it belonged to nothing any more."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None


def _first(handle: int, size: int) -> bytes:
    parts: list[bytes] = []
    at = 0
    while at < size and (part := os.pread(handle, min(size - at, 1 << 20), at)):
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def _unreadable(path: Path, error: OSError) -> BackupError:
    return BackupError(
        f"{error.filename or path} cannot be read: {error.strerror or error}.",
        "Run this as the user who runs the desk.",
    )
