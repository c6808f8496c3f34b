"""``breakwater backup|restore FILE``: everything a desk needs to go on elsewhere, as one checked file."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from breakwater.cli.client import DeskClient, sentences
from breakwater.cli.errors import CliError, Exit
from breakwater.cli.options import AsJson, StateDir, readable, state_dir
from breakwater.cli.output import print_json, say

if TYPE_CHECKING:
    from breakwater.backup.archive import Backup

PAPER = "Paper"
TWO_DESKS = (
    "If the desk it was taken from still runs and does not share a Redis with the restored one, nothing but you keeps the two "
    "from trading one account."
)


class _Answer(msgspec.Struct):
    """What ``--json`` prints."""

    file: str
    desk: str
    mode: str
    time: datetime
    version: str
    running: bool
    files: int
    bytes: int
    state_dir: str
    moved_aside: str | None = None


def backup(
    file: Annotated[Path, typer.Argument(help="Where to write the backup. A file that is there is replaced.")],
    recording: Annotated[
        bool, typer.Option("--recording", help="Take the recording for `whatif` too. No desk needs it to go on.")
    ] = False,
    state: StateDir = None,
    json: AsJson = False,
) -> None:
    """Write everything a desk needs to go on elsewhere into one file. The desk may run: it goes on trading."""
    from breakwater.backup.archive import decode_backup

    root = state_dir(state)
    if not root.is_dir():
        raise CliError(
            Exit.USAGE, f"There is no state directory {root}.", "Name the desk's directory: --state-dir DIR."
        )
    data = _taken(root, recording)
    whole = decode_backup(data)  # what is written is what can be read back
    if not whole.files:
        raise CliError(Exit.USAGE, f"No desk ever ran from {root}.", "Name the desk's directory: --state-dir DIR.")
    _write(file.expanduser(), data)
    _tell(whole, file, len(data), root, json=json, verb="backed up")
    if not json:
        say(
            "It holds the key that signs the audit, so keep it as you keep a key. Tokens and exchange keys are not in it."
        )


def restore(
    file: Annotated[Path, typer.Argument(help="A backup.")],
    force: Annotated[
        bool, typer.Option("--force", help="When the directory holds something: move that aside first.")
    ] = False,
    desk: Annotated[str, typer.Option("--desk", help="The desk that the backup must be of.")] = "main",
    old_desk_is_stopped: Annotated[
        bool,
        typer.Option(
            "--old-desk-is-stopped",
            help="Your word that no other desk trades this account. Needed unless the desk trades on paper.",
        ),
    ] = False,
    state: StateDir = None,
    json: AsJson = False,
) -> None:
    """Make a state directory from a backup, whole or not at all. The desk then opens nothing until it agrees with the venue."""
    from breakwater.backup.archive import decode_backup
    from breakwater.backup.volume import restore_into
    from breakwater.desk.rundir import LOCK_FILE, RunDir

    root = state_dir(state)
    whole = decode_backup(readable(file, "FILE").read_bytes())
    manifest = whole.manifest
    if manifest.desk != desk:
        raise CliError(
            Exit.REFUSED,
            f"The backup is of desk {manifest.desk!r}, not of {desk!r}.",
            f"If that is the one you want: --desk {manifest.desk}",
        )
    if manifest.mode != PAPER and not old_desk_is_stopped:
        raise CliError(
            Exit.REFUSED,
            f"The desk trades {manifest.mode or 'in a mode that cannot be read'}. {TWO_DESKS}",
            "Make sure that it is stopped and stays so; then say --old-desk-is-stopped.",
        )
    rundir = RunDir(root)
    if (root / LOCK_FILE).exists():
        rundir.claim()  # a desk that only starts holds it too
    try:
        aside = restore_into(whole, root, replace=force, now=datetime.now(UTC))
    finally:
        rundir.release()
    _tell(whole, file, file.expanduser().stat().st_size, root, json=json, verb="restored", aside=aside)
    if not json:
        say(TWO_DESKS)
        say(f"Start it with: breakwater up --state-dir {root}  (reduce-only until it agrees with the venue)")


def _taken(root: Path, recording: bool) -> bytes:
    """From the desk itself if it runs, else from its directory while holding its lock."""
    from breakwater.backup.archive import BackupError, encode_backup
    from breakwater.backup.facts import desk_of, mode_of
    from breakwater.backup.instant import hold, read, user_of
    from breakwater.desk.rundir import DeskAlreadyRuns, RunDir

    rundir = RunDir(root)
    try:
        rundir.claim()
    except DeskAlreadyRuns:
        return asyncio.run(_asked(root, recording))
    try:
        if user := user_of(root):
            raise BackupError(
                f"{user}.", "Only a desk that `breakwater up` runs can be backed up while running: stop it."
            )
        moment = datetime.now(UTC)
        files = read(hold(root, recording=recording))
        return encode_backup(
            files, desk=desk_of(files), mode=mode_of(files), time=moment, version=version("breakwater"), running=False
        )
    finally:
        rundir.release()


async def _asked(root: Path, recording: bool) -> bytes:
    answer = await DeskClient(root).post("/v1/backup", params={"recording": str(recording).lower()})
    if answer.status_code != 200:
        raise CliError(Exit.UNREACHABLE, sentences(answer), "Nothing was written.")
    return answer.content


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, readable by its owner only."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise CliError(
            Exit.USAGE, f"{path} cannot be written: {error.strerror or error}.", "Choose another place."
        ) from error


def _tell(
    whole: Backup, file: Path, size: int, root: Path, *, json: bool, verb: str, aside: Path | None = None
) -> None:
    manifest = whole.manifest
    if json:
        answer = _Answer(
            str(file),
            manifest.desk,
            manifest.mode,
            manifest.time,
            manifest.version,
            manifest.running,
            len(whole.files),
            size,
            str(root),
            str(aside) if aside else None,
        )
        print_json(msgspec.json.encode(answer))
        return
    say(
        f"✓ {verb} desk {manifest.desk} ({manifest.mode or 'mode unknown'}) as of {manifest.time:%Y-%m-%d %H:%M:%S} UTC: "
        f"{len(whole.files)} files, {size} bytes",
        "green",
    )
    if aside is not None:
        say(f"What was there before is now in {aside}")
