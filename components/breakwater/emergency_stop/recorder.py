"""Makes a change durable: latch and audit together, so that neither can be ahead of the other without being seen."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from datetime import datetime
from typing import Any

import structlog

from breakwater.domain.ids import DeskId
from breakwater.domain.stop_facts import Fact, Noted
from breakwater.domain.stop_head import StopHead
from breakwater.domain.stop_memory import Latched
from breakwater.emergency_stop import audit
from breakwater.emergency_stop.audit import AuditedTransition, AuditHead, AuditReport, audit_record, chain, verify_audit
from breakwater.emergency_stop.heads import HEAD_FILE, HeadSigner, decode_head, encode_head
from breakwater.emergency_stop.latch import Finding, Latch, LatchContent, LatchReading
from breakwater.runtime.ports import Disk, DiskError

log = structlog.get_logger(__name__)

DISK_SECONDS = 1.0
"""A write that takes longer counts as failed: nothing may wait for a disk that hangs, least of all a trip."""


TRANSITIONS_KEPT = 20


class Recorder:
    """Owns latch and audit files of one emergency stop, and signs the audit's head."""

    def __init__(self, disk: Disk, desk: DeskId, signer: HeadSigner) -> None:
        self._disk, self._desk = disk, desk
        self._latch = Latch(disk)
        self.signer = signer
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
        self.signed_head: StopHead | None = None
        """The end of what is in the audit file; None while that is empty. Unsigned when the key cannot be used."""
        self._kept_head: StopHead | None = None
        """The one in the head file."""
        self._signed_before = ""
        """Id of the key that signed the last head of the process before this one."""

    async def restore(self) -> tuple[LatchReading, int]:
        """The latch, and the highest epoch the audit knows. Completes an audit that a crash cut short. Raises DiskError.

        An audit that cannot be read is reported, and the stop starts all the same.
        """
        reading = self._latch.read()
        await self._load_key()
        try:
            data = self._disk.read(audit.FILE) or b""
        except DiskError as error:
            self.audit = AuditReport(False, 0, AuditHead(), str(error))
            if reading.content is not None:
                self._take(reading.content)
            elif reading.finding is Finding.ABSENT:
                reading = LatchReading(Finding.UNREADABLE, None, ("there is an audit, unreadable, but no latch",))
            return reading, 0
        if reading.finding is Finding.ABSENT and data:
            problem = "there is an audit but no latch: the latch was removed"
            reading = LatchReading(Finding.UNREADABLE, None, (*reading.problems, problem))
        content = reading.content
        if content is not None:
            self._take(content)
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
        lines = data.splitlines()
        if content is not None and lines:
            self._sign(content.latched, lines[-1])
        return reading, audit.last_epoch(data)

    def _take(self, content: LatchContent) -> None:
        self._revision, self._head = content.revision, content.head

    async def _load_key(self) -> None:
        try:
            data = self._disk.read(HEAD_FILE)
            self._signed_before = decode_head(data).key_id if data is not None else ""
        except (DiskError, ValueError) as error:
            log.warning("the last signed head cannot be read", error=str(error))
        try:
            await self._in_time(self.signer.load())
        except DiskError as error:
            self.signer.problem = f"the audit's signing key cannot be used yet: {error}"
        if self.signer.problem:
            log.error("audit heads are unsigned", problem=self.signer.problem)

    def compare(self, kept: StopHead | None) -> None:
        """Hold the audit against a head that others kept: one that is no longer in it means cut or rewritten."""
        if kept is None or kept.desk != self._desk or not self.audit.ok:
            return
        try:
            data = self._disk.read(audit.FILE) or b""
        except DiskError as error:
            self.audit = AuditReport(False, 0, AuditHead(), str(error))
            return
        self.audit = verify_audit(data, AuditHead(kept.number, kept.hash), keeper="a head kept outside of this volume")
        if not self.audit.ok:
            log.error("audit is not the one others know", problem=self.audit.problem)

    def key_facts(self, now: datetime) -> tuple[Noted, ...]:
        """What the audit itself has to say about its key: that heads are unsigned, or signed by another key than before."""
        signer, before = self.signer, self._signed_before
        if signer.problem:
            return (Noted("audit_unsigned", now, signer.problem),)
        if not before and not (signer.made and self._head.number):
            return ()  # a first start
        if before == signer.key_id:
            return ()
        text = f"heads are signed by key {signer.key_id} from here on, before by {before or 'none'}"
        return (Noted("audit_key", now, text, {"keyID": signer.key_id, "publicKey": signer.public_key}),)

    def audit_lines(self) -> bytes:
        """The audit file as it is, without a line that is being written just now. Raises DiskError."""
        data = self._disk.read(audit.FILE) or b""
        return data[: data.rfind(b"\n") + 1] if self._suspect else data

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
            self._sign(content.latched, self._tail[-1])
        self._tail = ()
        await self._in_time(self._latch.write_copy(content))
        await self._keep_head()

    def _sign(self, latched: Latched, line: str | bytes) -> None:
        """``line`` is the last one of the file."""
        time, end = audit.time_of(line), self._head
        if time is None or end.number == 0:
            return
        self.signed_head = self.signer.sign(
            StopHead(self._desk, end.number, end.digest, latched.epoch, latched.state, time)
        )

    async def _keep_head(self) -> None:
        """Beside the audit, for whoever copies the volume. It is made anew from latch and key: missing, nothing is lost."""
        if self.signed_head is None or self.signed_head == self._kept_head:
            return
        try:
            await self._in_time(self._disk.replace(HEAD_FILE, encode_head(self.signed_head) + b"\n"))
        except DiskError as error:
            log.warning("the signed head cannot be written", error=str(error))
        else:
            self._kept_head = self.signed_head

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
