"""Brings a backup back as a state directory: whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from datetime import datetime
from pathlib import Path

from breakwater.backup.archive import Backup, BackupError
from breakwater.backup.instant import user_of


def restore_into(backup: Backup, target: Path, *, replace: bool, now: datetime) -> Path | None:
    """Make ``target`` the state directory that ``backup`` holds; durable on return. Raises BackupError with nothing changed.

    A directory that holds something is refused, or with ``replace`` moved aside: the new name is returned. ``now`` names it.
    """
    target = target.absolute()
    if target.exists() and not target.is_dir():
        raise BackupError(f"{target} is a file.", "Give a directory: --state-dir DIR.")
    occupied = target.is_dir() and any(target.iterdir())
    if occupied and (user := user_of(target)):
        raise BackupError(f"{user}.", "Stop it first, or restore into another directory: --state-dir DIR.")
    if occupied and not replace:
        raise BackupError(
            f"{target} is not empty.",
            "Give an empty directory, or --force: what is there is then moved aside, not deleted.",
        )
    staged = target.with_name(f".{target.name}.restoring-{os.getpid()}")
    aside: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.mkdir(mode=0o700)
        for path, data in backup.files.items():
            _write(staged, path, data)
        _sync_all(staged)
        if occupied:
            aside = target.with_name(f"{target.name}.before-{now:%Y%m%dT%H%M%S}Z")
            if aside.exists():
                raise BackupError(f"{aside} is there already.", "Try again in a second.")
            target.rename(aside)
        try:
            staged.rename(target)
        except OSError:
            if aside is not None:
                aside.rename(target)
            raise
        _sync(target.parent)
    except OSError as error:
        raise BackupError(
            f"{error.filename or target} cannot be written: {error.strerror or error}.",
            "Nothing was restored. Free some space or choose another directory: --state-dir DIR.",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(staged)
    return aside


def _write(root: Path, path: str, data: bytes) -> None:
    place = root / path
    for folder in reversed(place.relative_to(root).parents):  # one by one: `parents=True` would give them to everybody
        (root / folder).mkdir(exist_ok=True, mode=0o700)
    with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_all(root: Path) -> None:
    for folder, _, _ in os.walk(root, topdown=False):
        _sync(Path(folder))


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
