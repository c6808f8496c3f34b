"""Makes a change durable: latch and audit together, so that neither can be ahead of the other without being seen."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any

import structlog

from breakwater.domain.stop_facts import Fact
from breakwater.domain.stop_memory import Latched
from breakwater.emergency_stop import audit
from breakwater.emergency_stop.audit import AuditedTransition, AuditHead, AuditReport, audit_record, chain, verify_audit
from breakwater.emergency_stop.latch import Finding, Latch, LatchContent, LatchReading
from breakwater.runtime.ports import Disk, DiskError

log = structlog.get_logger(__name__)

DISK_SECONDS = 1.0
"""A write that takes longer counts as failed: nothing may wait for a disk that hangs, least of all a trip."""


TRANSITIONS_KEPT = 20


class Recorder:
    """Owns latch and audit files of one emergency stop."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._latch = Latch(disk)
        self._revision = 0
        self._head = AuditHead()
        self._tail: tuple[str, ...] = ()
        self._suspect = False
        self._late: asyncio.Task[None] | None = None
        """A write that was given up and may still come to an end."""
        self.transitions: deque[AuditedTransition] = deque(maxlen=TRANSITIONS_KEPT)
        """The last ones in the audit, the newest last."""
        self.audit = AuditReport(True, 0, AuditHead())
        """What the check of the audit at the start found."""

    async def restore(self) -> tuple[LatchReading, int]:
        """The latch, and the highest epoch the audit knows. Completes an audit that a crash cut short. Raises DiskError."""
        reading = self._latch.read()
        data = self._disk.read(audit.FILE) or b""
        if reading.finding is Finding.ABSENT and data:
            problem = "there is an audit but no latch: the latch was removed"
            reading = LatchReading(Finding.UNREADABLE, None, (*reading.problems, problem))
        content = reading.content
        if content is not None:
            self._revision, self._head = content.revision, content.head
            data = await self._complete(data, content)
        self.audit = verify_audit(data, content.head if content else None)
        if self.audit.ok:
            self._head = self.audit.head
        elif content is None:
            # Nothing to check the end against: go on after the last whole record.
            whole = data.rfind(b"\n") + 1
            if whole < len(data):
                await self._disk.truncate(audit.FILE, whole)
            self._head = self.audit.head
        self.transitions.extend(audit.last_transitions(data, TRANSITIONS_KEPT))
        return reading, audit.last_epoch(data)

    async def latch(self, latched: Latched, facts: Sequence[Fact], unpublished: Sequence[Fact]) -> LatchContent:
        """Write the first copy of the latch, audit lines of ``facts`` included. Durable on return. Raises DiskError."""
        records = [record for fact in facts if (record := audit_record(fact)) is not None]
        head, lines = chain(self._head, records)
        content = LatchContent(self._revision + 1, latched, head, (*self._tail, *lines), tuple(unpublished))
        await self._in_time(self._latch.write(content))
        self._revision, self._head, self._tail = content.revision, head, content.audit_tail
        self.transitions.extend(filter(None, map(audit.transition_in, lines)))
        return content

    async def finish(self, content: LatchContent) -> None:
        """The rest of what ``latch`` began, after the change was announced: the audit file and the second copy. Raises DiskError."""
        if self._tail:  # not there yet: a second try must not append it twice
            suspect, self._suspect = self._suspect, True
            if suspect:  # an append failed half-way: look what is there
                await self._in_time(self._complete_file(content))
            else:
                lines = "".join(f"{line}\n" for line in self._tail).encode()
                await self._in_time(self._disk.append(audit.FILE, lines))
            self._suspect = False
        self._tail = ()
        await self._in_time(self._latch.write_copy(content))

    async def _in_time(self, write: Coroutine[Any, Any, None]) -> None:
        """Raises DiskError when ``write`` takes too long. Then nothing is written before it has ended, so that order holds."""
        if self._late is not None and not self._late.done():
            write.close()
            raise DiskError("the disk still does not answer")
        task = asyncio.ensure_future(write)
        done, _ = await asyncio.wait([task], timeout=DISK_SECONDS)
        if not done:
            self._late = task
            task.add_done_callback(_ended_late)
            raise DiskError(f"the disk did not answer within {DISK_SECONDS:g} s")
        task.result()

    async def _complete_file(self, content: LatchContent) -> None:
        await self._complete(self._disk.read(audit.FILE) or b"", content)

    async def _complete(self, data: bytes, content: LatchContent) -> bytes:
        """Append the tail's lines that are missing; a torn line at the end is one of them, begun."""
        whole = data.rfind(b"\n") + 1
        known = data[:whole].splitlines()
        missing = [line for line in content.audit_tail if line.encode() not in known]
        torn = data[whole:]
        if torn and (not missing or missing[0].encode().startswith(torn)):
            await self._disk.truncate(audit.FILE, whole)
            data = data[:whole]
        elif torn:
            return data  # not ours: leave it for the check to report
        if missing:
            log.warning("audit completed after a crash", records=len(missing))
            added = "".join(f"{line}\n" for line in missing).encode()
            await self._disk.append(audit.FILE, added)
            data += added
        return data


def _ended_late(write: asyncio.Task[None]) -> None:
    error = None if write.cancelled() else write.exception()
    log.warning("a write ended after it was given up", error=str(error) if error else "none")
