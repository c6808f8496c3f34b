"""The format of a backup: a tar whose first member says what the others are, and whose last one seals all before it.

``manifest.json`` holds desk, time, version, and size and SHA-256 of every file; ``files/...`` are the files; ``seal`` is the
SHA-256 of every byte before it. The same facts and files always give the same bytes. Docs: docs/reference/backup.md.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePosixPath

import msgspec

from breakwater.runtime.unreadable import UNREADABLE

FORMAT = 1
MANIFEST = "manifest.json"
FILES = "files/"
SEAL = "seal"


class BackupError(Exception):
    """A backup that cannot be made, read or restored. ``remedy`` says what to do about it."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem} {remedy}".strip())
        self.problem, self.remedy = problem, remedy


class Member(msgspec.Struct, frozen=True):
    """One file of the backup. ``path`` is relative to the state directory, with '/'; ``size`` in bytes."""

    path: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a backup says of itself."""

    format: int
    desk: str
    mode: str
    """``tradingMode`` of the policy in force: paper, staging or live; empty when no policy could be read."""
    time: datetime
    """Wall time (UTC) of the instant that the files show."""
    version: str
    """Of the Breakwater that made it."""
    running: bool
    """Whether the desk ran at that instant."""
    members: tuple[Member, ...]


class Backup(msgspec.Struct, frozen=True):
    """A backup that was read and found whole. ``files``: content by path."""

    manifest: Manifest
    files: dict[str, bytes]


class _Format(msgspec.Struct):
    """The one thing that every version can read of every other."""

    format: int


def encode_backup(
    files: Mapping[str, bytes], *, desk: str, mode: str, time: datetime, version: str, running: bool
) -> bytes:
    """The backup as bytes. ``time``: wall time, UTC."""
    members = tuple(Member(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in sorted(files.items()))
    manifest = Manifest(FORMAT, desk, mode, time, version, running, members)
    head = msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
    whole = _entry(MANIFEST, head) + b"".join(_entry(FILES + path, data) for path, data in sorted(files.items()))
    return _sealed(whole)


def decode_backup(data: bytes) -> Backup:
    """Read and check every byte. Raises BackupError that names the member that is damaged or missing."""
    entries = _entries(data)
    if not entries or entries[0][0] != MANIFEST:
        raise BackupError("This is no backup of Breakwater: it does not begin with a manifest.", "Give another file.")
    manifest = _manifest(entries[0][1])
    found = {name: content for name, content, _ in entries[1:]}
    files: dict[str, bytes] = {}
    for member in manifest.members:
        content = found.pop(FILES + member.path, None)
        if content is None:
            raise _damaged(f"{member.path} is missing: the file is cut off, or was damaged before that place")
        if len(content) != member.size or hashlib.sha256(content).hexdigest() != member.sha256:
            raise _damaged(f"{member.path} is not what the manifest says it is (size or SHA-256 differ)")
        files[member.path] = content
    if found.pop(SEAL, None) is None:
        raise _damaged("its seal, the last member, is missing: the file is cut off")
    if found:
        raise _damaged(f"{min(found)} is in it, and the manifest does not know it")
    whole = data[: entries[-1][2]]
    if entries[-1][0] != SEAL or data != _sealed(whole):
        raise _damaged(f"{MANIFEST}, or what stands between and behind the members, does not match the seal")
    return Backup(manifest, files)


def _manifest(data: bytes) -> Manifest:
    try:
        number = msgspec.json.decode(data, type=_Format).format
        if number > FORMAT:
            raise BackupError(
                f"The backup has format {number}; this version of Breakwater reads up to {FORMAT}.",
                "Restore it with the version that made it, or a newer one.",
            )
        manifest = msgspec.json.decode(data, type=Manifest)
    except UNREADABLE as error:
        raise _damaged(f"{MANIFEST} cannot be read ({error})") from None
    for member in manifest.members:
        parts = PurePosixPath(member.path).parts
        if not parts or member.path.startswith("/") or ".." in parts or "\\" in member.path or "\0" in member.path:
            raise _damaged(f"{MANIFEST} names {member.path!r}, which is no place inside a state directory")
    return manifest


def _entries(data: bytes) -> list[tuple[str, bytes, int]]:
    """Name, content and offset of each member, up to where the file cannot be read as a tar any more."""
    entries: list[tuple[str, bytes, int]] = []
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for entry in tar:
                if not entry.isreg():
                    raise _damaged(f"{entry.name} is not a plain file")
                if entry.offset_data + entry.size > len(data):
                    break
                content = data[entry.offset_data : entry.offset_data + entry.size]
                entries.append((entry.name, content, entry.offset))
    except (tarfile.TarError, ValueError, EOFError, OSError):
        pass  # what is missing then is named by whoever compares with the manifest
    return entries


def _sealed(whole: bytes) -> bytes:
    """``whole`` with its seal and the end of the archive."""
    return whole + _entry(SEAL, hashlib.sha256(whole).hexdigest().encode() + b"\n") + bytes(2 * tarfile.BLOCKSIZE)


def _entry(name: str, data: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o600, 0
    try:
        head = info.tobuf(format=tarfile.USTAR_FORMAT, encoding="utf-8", errors="strict")
    except ValueError as error:
        raise BackupError(f"{name} cannot be kept in a backup: {error}.", "Give it a shorter name.") from None
    return head + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def _damaged(what: str) -> BackupError:
    return BackupError(f"The backup is damaged: {what}.", "Nothing was restored. Use another copy of it.")
