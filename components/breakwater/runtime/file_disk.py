"""The Disk port on a real directory: every write is durable when the call returns, and one process owns the directory."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TypeVar

from breakwater.runtime.ports import DiskError

T = TypeVar("T")

LOCK_NAME = ".lock"


class DirectoryLock:
    """An exclusive lock on a directory, held until ``release`` or the death of the process. Raises DiskError naming the holder."""

    def __init__(self, directory: Path, *, owner: str) -> None:
        path = directory / LOCK_NAME
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DiskError(
                f"{directory}: cannot be used as a volume: {error.strerror}; check that it exists and is writable"
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._fd, 200, 0).decode(errors="replace").strip() or "an unknown process"
            os.close(self._fd)
            raise DiskError(
                f"{directory} is in use by {holder}: stop it first, or give this process a directory of its own"
            ) from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{owner} (process {os.getpid()})\n".encode(), 0)

    def release(self) -> None:
        """Safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class FileDisk:
    """Files below ``root``, made if missing. ``owner`` is who other processes are told holds it.

    Writes run one after the other on one worker thread, so that a slow fsync never stops the event loop. Raises DiskError.
    """

    def __init__(self, root: Path, *, owner: str = "breakwater") -> None:
        self.root = root
        self._lock = DirectoryLock(root, owner=owner)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"disk-{root.name}")
        self._failed: dict[str, str] = {}

    def read(self, name: str) -> bytes | None:
        path = self._path(name)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _readable(path, "read", error) from error

    async def replace(self, name: str, data: bytes) -> None:
        path = self._path(name)
        await self._run(path, "replace", lambda: replace_file(path, data))
        self._failed.pop(name, None)

    async def append(self, name: str, data: bytes) -> None:
        path = self._path(name)
        self._refuse_failed(name, path)
        try:
            await self._run(path, "append to", lambda: _append(path, data))
        except _SyncFailed as error:
            # After a failed sync the kernel may have dropped the pages: nothing written to this file can be trusted now.
            self._failed[name] = str(error)
            raise DiskError(f"{path}: {error}; restart the component once the disk is healthy") from error

    async def truncate(self, name: str, size: int) -> None:
        path = self._path(name)
        self._refuse_failed(name, path)
        await self._run(path, "truncate", lambda: _truncate(path, size))

    def names(self) -> list[str]:
        try:
            found = [path for path in self.root.rglob("*") if path.is_file()]
        except OSError as error:
            raise _readable(self.root, "list", error) from error
        names = (path.relative_to(self.root).as_posix() for path in found)
        return sorted(name for name in names if name != LOCK_NAME and not name.endswith(".new"))

    async def remove(self, name: str) -> None:
        path = self._path(name)
        await self._run(path, "remove", lambda: _remove(path))
        self._failed.pop(name, None)

    def close(self) -> None:
        """Finish the writes under way and let go of the directory. Safe to call twice."""
        self._worker.shutdown(wait=True)
        self._lock.release()

    def _path(self, name: str) -> Path:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or parts == (LOCK_NAME,):
            raise DiskError(f"{name!r} is not a file name on this volume: give a relative path without '..'")
        return self.root.joinpath(*parts)

    def _refuse_failed(self, name: str, path: Path) -> None:
        if name in self._failed:
            raise DiskError(f"{path}: an earlier {self._failed[name]}; restart the component once the disk is healthy")

    async def _run(self, path: Path, verb: str, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)
        except _SyncFailed:
            raise
        except OSError as error:
            raise _readable(path, verb, error) from error
        except RuntimeError as error:
            raise DiskError(f"{path}: cannot {verb}: the volume is closed") from error


class _SyncFailed(Exception):
    """fsync reported an error."""


def _readable(path: Path, verb: str, error: OSError) -> DiskError:
    remedy = {
        errno.ENOSPC: "; free some space on this volume",
        errno.EACCES: "; give this user access to it",
        errno.EROFS: "; mount the volume read-write",
        errno.EISDIR: "; a directory stands where a file is expected",
    }.get(error.errno or 0, "")
    return DiskError(f"{path}: cannot {verb}: {error.strerror or error}{remedy}")


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _make_parents(path: Path) -> None:
    missing = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for parent in missing:
        _sync_directory(parent.parent)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def replace_file(path: Path, data: bytes) -> None:
    """Replace the file atomically and durably. Raises OSError."""
    _make_parents(path)
    temporary = path.with_name(path.name + ".new")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_directory(path.parent)  # without this a crash may bring the old file back


def _append(path: Path, data: bytes) -> None:
    _make_parents(path)
    is_new = not path.exists()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        before = os.fstat(fd).st_size
        try:
            _write_all(fd, data)
        except OSError:
            os.ftruncate(fd, before)  # a half-written record must not precede the next one
            raise
        try:
            os.fdatasync(fd) if hasattr(os, "fdatasync") else os.fsync(fd)
        except OSError as error:
            raise _SyncFailed(f"sync failed: {error.strerror}") from error
    finally:
        os.close(fd)
    if is_new:
        _sync_directory(path.parent)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _truncate(path: Path, size: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.ftruncate(fd, size)
        os.fsync(fd)
    finally:
        os.close(fd)
