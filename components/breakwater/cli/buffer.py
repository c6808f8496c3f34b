"""``breakwater buffer show|verify``: events that wait on disk for Redis, read without touching them, also while a desk runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from breakwater.cli.errors import CliError, Exit
from breakwater.cli.options import AsJson, StateDir, state_dir
from breakwater.cli.output import complain, console, print_json, row, say, table
from breakwater.runtime.disk_buffer.segments import Entry, Reading, read_segment, segment_number

app = typer.Typer(no_args_is_help=True, help="Events that wait on disk while Redis is away.", rich_markup_mode=None)

FromDir = Annotated[
    Path | None, typer.Option("--dir", help="Where to look, with all below; default: the state directory.")
]
OfProducer = Annotated[str | None, typer.Option("--producer", help="Only what this component wrote.")]


@dataclass(frozen=True)
class _Segment:
    path: Path
    size: int
    reading: Reading

    @property
    def shown(self) -> str:
        return f"{self.path.parent.name}/{self.path.name}"

    @property
    def producer(self) -> str:
        header = self.reading.header
        return header.producer if header is not None and header.producer else self.path.parent.name

    @property
    def verdict(self) -> str:
        if self.reading.newer:
            return "NEWER"
        if self.reading.damaged or (self.reading.header is None and self.size):
            return "DAMAGED"
        return "TORN" if self.reading.torn else "OK"

    def what(self) -> str:
        reading = self.reading
        if reading.newer:
            assert reading.header is not None
            return f"written by a newer version (format {reading.header.buffer}): run that one to have it delivered"
        told = [f"line {line}: {why}" for line, why in reading.damaged]
        if reading.header is None and self.size:
            told.insert(0, "its first line is no header")
        if reading.torn:
            told.append(f"{reading.torn} bytes at the end were never finished, and are cut off at the next start")
        return "; ".join(told)


@app.command(epilog="Example: breakwater buffer show --producer execution --limit 20")
def show(
    state: StateDir = None,
    directory: FromDir = None,
    producer: OfProducer = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many events, the oldest first.")] = 50,
    json: AsJson = False,
) -> None:
    """Print the events kept on disk, the oldest first of each component; what is damaged is left out, see verify."""
    segments = list(_segments(directory or state_dir(state), producer))
    waiting = [(segment, entry) for segment in segments for entry in segment.reading.entries]
    if json:
        events = [{"file": str(segment.path), **_told(segment, entry)} for segment, entry in waiting[:limit]]
        print_json(msgspec.json.encode({"count": len(waiting), "events": events}))
        return
    if not waiting:
        say("No event is kept here: Redis has them all.", "green")
        return
    shown = table("Producer", "Id", "Market time", "Event", "Bytes", right=("Bytes",))
    for segment, entry in waiting[:limit]:
        told = _told(segment, entry)
        row(shown, told["producer"], told["id"], told["time"][:19].replace("T", " "), told["type"], len(entry.data))
    console().print(shown)
    say(f"{len(waiting)} events in {len(segments)} files" + (f"; {limit} shown" if limit < len(waiting) else ""))
    say("What Redis has had for five seconds leaves by itself.")


@app.command(epilog="Example: breakwater buffer verify --json")
def verify(
    state: StateDir = None, directory: FromDir = None, producer: OfProducer = None, json: AsJson = False
) -> None:
    """Check every line of every file. Exit 0: whole, also with an unfinished end; 1: damaged, or of a newer version."""
    segments = list(_segments(directory or state_dir(state), producer))
    found = [
        {
            "file": str(segment.path),
            "producer": segment.producer,
            "verdict": segment.verdict,
            "events": len(segment.reading.entries),
            "bytes": segment.size,
            "first": _id(segment.reading.entries[0]) if segment.reading.entries else None,
            "last": _id(segment.reading.entries[-1]) if segment.reading.entries else None,
            "damage": [{"line": line, "problem": why} for line, why in segment.reading.damaged],
            "torn_bytes": segment.reading.torn,
        }
        for segment in segments
    ]
    bad = [segment for segment in segments if segment.verdict in ("DAMAGED", "NEWER")]
    if json:
        print_json(msgspec.json.encode({"verdict": "BROKEN" if bad else "OK", "segments": found}))
    else:
        _print_verdicts(segments, found)
    if bad:
        raise typer.Exit(Exit.UNEXPECTED)


def _print_verdicts(segments: list[_Segment], found: list[dict[str, Any]]) -> None:
    if not segments:
        say("No event waits on disk: there is nothing to check.", "green")
        return
    shown = table("File", "Verdict", "Events", "Bytes", "First", "Last", right=("Events", "Bytes"))
    for segment, told in zip(segments, found, strict=True):
        style = {"OK": None, "TORN": "yellow"}.get(segment.verdict, "bold red")
        row(
            shown, segment.shown, told["verdict"], told["events"], told["bytes"], told["first"], told["last"], style=style
        )  # fmt: skip
    console().print(shown)
    for segment in segments:
        if what := segment.what():
            complain((f"{segment.shown}: {what}",))


def _segments(root: Path, producer: str | None) -> Iterator[_Segment]:
    if not root.is_dir():
        raise CliError(Exit.USAGE, f"{root}: there is no such directory.", "Give --dir or --state-dir.")
    for path in sorted(root.rglob("buffer-*.jsonl")):
        if segment_number(path.name) is None:
            continue
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            continue  # delivered meanwhile
        except OSError as error:
            raise CliError(
                Exit.USAGE, f"{path}: cannot be read: {error.strerror}.", "Check its permissions."
            ) from error
        segment = _Segment(path, len(raw), read_segment(raw))
        if producer is None or segment.producer == producer:
            yield segment


def _told(segment: _Segment, entry: Entry) -> dict[str, Any]:
    """The envelope is shown also where this version does not know the payload."""
    envelope = msgspec.json.decode(entry.data)
    return {
        "producer": segment.producer,
        "id": _id(entry),
        "type": str(envelope.get("type", "")),
        "time": str(envelope.get("time", "")),
        "event": envelope,
    }


def _id(entry: Entry) -> str:
    return f"{entry.epoch}-{entry.sequence}"
