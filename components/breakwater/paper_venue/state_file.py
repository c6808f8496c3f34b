"""Keeps the venue across restarts and kill -9: a snapshot plus a journal of what changed since.

Each change is appended as one JSON line and handed to the operating system at once, so a killed process loses
nothing; only a power cut can lose the last moments (there is no fsync per order). The journal is folded into a
fresh snapshot, replaced atomically, when it grows and at a clean stop. Journal lines are whole records upserted
by id, so replaying lines that a snapshot holds already changes nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import msgspec

from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.ledger import apply_delta
from breakwater.paper_venue.model import VenueDelta, VenueState
from breakwater.runtime.unreadable import UNREADABLE

JOURNAL_LIMIT_BYTES = 16 * 1024 * 1024
PRICE_INTERVAL_SECONDS = 1.0


class StateFileError(Exception):
    """The saved state cannot be read. The text names the file and the remedy."""


class VenueStateFile:
    """Snapshot at `path`, journal beside it with the ending `.journal`."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._journal_path = self._path.with_name(self._path.name + ".journal")
        self._journal: BinaryIO | None = None
        self._size = 0
        self._prices_saved_at: float | None = None
        self._encoder = msgspec.json.Encoder()

    def load(self) -> VenueState | None:
        """The last state, or None when there never was one. Raises StateFileError.

        A last journal line that was cut by a kill is dropped; damage anywhere else is an error.
        """
        state: VenueState | None = None
        try:
            if self._path.exists():
                state = msgspec.json.decode(self._path.read_bytes(), type=VenueState)
            lines = self._journal_path.read_bytes().split(b"\n") if self._journal_path.exists() else []
        except (OSError, msgspec.MsgspecError) as error:
            raise StateFileError(
                f"{self._path}: the saved venue cannot be read ({error}). "
                "Restore it from a copy, or move it away to start a new venue"
            ) from None
        decoder = msgspec.json.Decoder(VenueDelta)
        for number, line in enumerate(lines, start=1):
            if not line:
                continue
            try:
                delta = decoder.decode(line)
            except UNREADABLE as error:
                if number == len(lines):
                    break
                raise StateFileError(
                    f"{self._journal_path}, line {number}: damaged ({error}). "
                    "Restore it from a copy, or move both files away to start a new venue"
                ) from None
            state = state or VenueState()
            apply_delta(state, delta)
        return state

    def open(self, venue: PaperVenue) -> None:
        """Write a first snapshot and begin a new journal. Call after `load`, before the venue serves."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._compact(venue)

    def save(self, venue: PaperVenue) -> None:
        """Append what changed. Called after every request or tick that changed a record."""
        line = self._encoder.encode(venue.take_delta()) + b"\n"
        if self._journal is None:
            raise StateFileError(f"{self._path}: open() the state file before saving")
        try:
            self._journal.write(line)
        except OSError:
            # The line may be half written: the next save starts over with a whole snapshot.
            self._size = JOURNAL_LIMIT_BYTES
            raise
        self._size += len(line)
        if self._size > JOURNAL_LIMIT_BYTES:
            self._compact(venue)

    def save_prices(self, venue: PaperVenue, monotonic: float) -> None:
        """Append the prices, at most once a second of `monotonic`."""
        if self._prices_saved_at is None or monotonic - self._prices_saved_at >= PRICE_INTERVAL_SECONDS:
            self._prices_saved_at = monotonic
            self.save(venue)

    def close(self, venue: PaperVenue) -> None:
        """Fold everything into the snapshot."""
        self._compact(venue)
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _compact(self, venue: PaperVenue) -> None:
        venue.take_delta()
        temporary = self._path.with_name(self._path.name + ".new")
        with temporary.open("wb") as file:
            file.write(self._encoder.encode(venue.to_state()))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        if self._journal is not None:
            self._journal.close()
        # A new file, not the old one cut to nothing: whoever reads that for a backup may not be done with it.
        self._journal_path.unlink(missing_ok=True)
        # Unbuffered: every write reaches the operating system before the reply leaves.
        self._journal = self._journal_path.open("wb", buffering=0)
        self._size = 0
