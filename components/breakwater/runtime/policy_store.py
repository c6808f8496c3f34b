"""The policy in force, kept in the shared store and in a backup file (REQUIREMENTS R6).

The store (Redis) comes first, the file second; of copies that disagree the higher valid version wins, on a tie the
stricter. A copy the store has not confirmed for ten minutes is stale: whoever sees ``stale`` opens nothing.
The file alone gives exits their limits and is stale from the start. So does a mirror (a mounted ConfigMap), which
never outranks the other two: one that differs only makes the policy stale while it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import NoReturn, Protocol

import msgspec
import structlog

from breakwater.domain.emergency_stop_spec import EmergencyStopSpec
from breakwater.domain.limits import EffectiveLimits, effective_limits
from breakwater.domain.policy import PolicySpec
from breakwater.runtime.bus import BusUnavailable
from breakwater.runtime.clocks import InfraClock
from breakwater.runtime.manifests import DeskManifests
from breakwater.runtime.policy_copy import (
    MOST_HISTORY,
    MOST_VERSION,
    BadCopy,
    HistoryEntry,
    PolicyCopy,
    decode_copy,
    encode_copy,
    shortened,
)
from breakwater.runtime.policy_diff import Change, diff_holds, diff_policies
from breakwater.runtime.ports import Disk, DiskError, KeyValueStore, StoreUnavailable

log = structlog.get_logger(__name__)

STALE_AFTER_SECONDS = 600
REFRESH_SECONDS = 60
BACKUP_FILE = "policy.json"
_TRIES = 3
_BELIEVABLE_STEP = 1000
"""How far above every readable version a damaged copy's own version is still counted, not taken for damage itself."""


class PolicyInForce(msgspec.Struct, frozen=True):
    """What the desk obeys now. ``stale``: open nothing (gate REDUCE_ONLY); exits keep these limits."""

    version: int
    policy: PolicySpec
    stop: EmergencyStopSpec
    limits: EffectiveLimits
    fetched_at: datetime | None
    """Wall time at which the store last confirmed it; None: never by this process."""
    stale: bool
    desk: DeskManifests
    digest: str
    who: str = ""
    """Who brought this version into force."""
    problems: tuple[str, ...] = ()
    """What is wrong with single copies, in sentences; empty when all agree."""
    hold: str = ""
    """Non-empty: open nothing (gate REDUCE_ONLY, POLICY_ON_HOLD); why, a sentence. Exits and the stop keep their rules."""


def policy_brief(policy: PolicyInForce | None) -> dict[str, object] | None:
    """What a component tells about the policy it obeys: ``{version, stale, hold}``; None while it knows none."""
    return {"version": policy.version, "stale": policy.stale, "hold": policy.hold} if policy else None


class PolicyReader(Protocol):
    """What components see of the policy store: the policy in force, cached and age-checked."""

    def current(self) -> PolicyInForce | None:
        """None while no valid copy is known: open nothing."""
        ...


PolicyChanged = Callable[[PolicyInForce, tuple[Change, ...]], Awaitable[None]]
Mirror = Callable[[], bytes | None]
"""Reads one more copy that somebody else keeps; None when there is none. Raises OSError when it cannot be read."""


class PolicyStore:
    """Reads, and for its one writer changes, the policy of one desk.

    Only one process may be the ``writer`` (the operator, or the desk itself on a laptop): it alone writes the shared
    store. Every process keeps a backup file when it is given a disk. ``on_change`` is awaited once for each version
    that comes into force here, with what changed; nothing is published otherwise. ``mirror`` is one more copy to look
    at, which others may write too: its limits hold only where no other copy is known, it is never kept, and one that
    says something newer or else than the rest makes the policy stale for as long as it says so. ``claim`` is awaited
    with every new version before anything is written; when it raises nothing changes.
    """

    def __init__(
        self,
        kv: KeyValueStore,
        disk: Disk | None,
        clock: InfraClock,
        *,
        desk: str,
        writer: bool = False,
        on_change: PolicyChanged | None = None,
        mirror: Mirror | None = None,
        claim: Callable[[int], Awaitable[None]] | None = None,
        file: str = BACKUP_FILE,
    ) -> None:
        self.key = f"breakwater:{desk}:policy"
        self._kv, self._disk, self._clock, self._file = kv, disk, clock, file
        self._writer, self._on_change = writer, on_change
        self._mirror, self._claim = mirror, claim
        self._copy: PolicyCopy | None = None
        """What holds."""
        self._kept: PolicyCopy | None = None
        """The best of what store, backup and this process itself ever said; the mirror has no part in it."""
        self._doubted = False
        """The mirror knows of something newer, or is all there is."""
        self._confirmed: float | None = None
        self._fetched_at: datetime | None = None
        self._problems: tuple[str, ...] = ()
        self._known: tuple[PolicyCopy, PolicyInForce] | None = None
        self._claimed = 0
        self._backup: bytes | None = None
        self._announced: PolicyCopy | None = None
        self._lock = asyncio.Lock()

    def current(self) -> PolicyInForce | None:
        """What is in force by the last `refresh` or `apply`; None while no valid copy is known (open nothing)."""
        if self._copy is None:
            return None
        stale = (
            self._doubted or self._confirmed is None or self._clock.monotonic() - self._confirmed > STALE_AFTER_SECONDS
        )
        known = self._known
        if (
            known is not None
            and known[0] is self._copy
            and known[1].stale is stale
            and known[1].fetched_at is self._fetched_at
            and known[1].problems is self._problems
        ):
            return known[1]
        # Read at every order: limits and digest are worked out once for each copy.
        specs = self._copy.desk.policy.spec, self._copy.desk.stop.spec
        in_force = PolicyInForce(
            version=self._copy.version,
            policy=specs[0],
            stop=specs[1],
            limits=effective_limits(*specs),
            fetched_at=self._fetched_at,
            stale=stale,
            desk=self._copy.desk,
            digest=self._copy.content_digest,
            who=self._copy.history[-1].who if self._copy.history else "",
            problems=self._problems,
            hold=self._copy.hold,
        )
        self._known = (self._copy, in_force)
        return in_force

    def history(self) -> tuple[HistoryEntry, ...]:
        """The last 50 versions, fewer when they say much, the newest last: who, when, and what changed."""
        return self._copy.history if self._copy else ()

    def snapshot(self) -> bytes | None:
        """The copy in force as bytes, for a backup; `restore` takes them back."""
        return encode_copy(self._copy) if self._copy else None

    async def refresh(self) -> PolicyInForce | None:
        """Look at every copy and take the one that wins. Never raises for an unreadable copy: see ``problems``."""
        async with self._lock:
            await self._refresh()
            return await self._announce()

    async def apply(self, desk: DeskManifests, *, who: str, hold: str = "", floor: int = 0) -> PolicyInForce:
        """Bring ``desk`` into force for ``who``, on ``hold`` when that is not empty; when nothing differs the version stays.

        A new version is one above all copies and ``floor``, the highest version that was ever given out elsewhere.
        Raises StoreUnavailable when the store cannot be read (the highest version is then unknown), DiskError when
        the backup cannot be written, and what ``claim`` raises; nothing has changed then.
        """
        if not self._writer:
            raise ValueError("this process may only read the policy: apply it where the desk is run from")
        # A request to trip or reset is not part of the policy in force.
        stop = dataclasses.replace(desk.stop, spec=desk.stop.spec.without_requests())
        desk = dataclasses.replace(desk, stop=stop)
        async with self._lock:
            if not await self._refresh():
                raise StoreUnavailable("the policy store does not answer: nothing was changed; try again when it does")
            known = self._kept
            unsure = known is None or self._doubted or known.version < floor
            if unsure or known is None or known.hold != hold or diff_policies(known.desk, desk):
                await self._write(desk, who, hold, floor)
            in_force = await self._announce()
            assert in_force is not None
            return in_force

    async def restore(self, snapshot: bytes, *, who: str) -> PolicyInForce:
        """Bring a `snapshot` back into force, as a new version. Raises BadCopy, and as `apply` does."""
        copy = decode_copy(snapshot)
        # A process that has not looked yet knows of no hold.
        await self.refresh()
        # Older than what is known: it does not lift a hold.
        hold = (self._copy.hold if self._copy else "") or copy.hold
        return await self.apply(copy.desk, who=who, hold=hold)

    async def keep_fresh(self) -> NoReturn:
        """Refresh each minute until cancelled, so that a copy never comes near ten minutes while the store answers."""
        while True:
            await self._clock.sleep(REFRESH_SECONDS)
            await self.refresh()

    async def _refresh(self) -> bool:
        """Take the winning copy and repair the others; True when the store answered."""
        problems: list[str] = []
        self._claimed = 0
        stored: PolicyCopy | None = None
        answered, damaged = True, False
        try:
            raw = await self._kv.get(self.key)
        except StoreUnavailable as error:
            answered = False
            problems.append(f"the policy store does not answer ({error})")
        else:
            stored = self._read(raw, f"the copy in the store ({self.key})", problems)
            damaged = raw is not None and stored is None
        found = [copy for copy in (stored, self._read_backup(problems), self._kept) if copy]
        best = min(found, key=lambda copy: copy.rank, default=None)
        rivals = {copy.content_digest for copy in found if best and copy.version == best.version}
        if len(rivals) > 1:
            problems.append(f"two different policies claim version {best.version if best else 0}: the stricter holds")
        mirrored = self._read_mirror(problems)
        self._doubted = mirrored is not None and _differs(mirrored, best)
        if best is not None and mirrored is not None and self._doubted:
            self._claimed = max(self._claimed, mirrored.version)
            problems.append(
                f"the mirror of the policy has version {mirrored.version}, the other copies version {best.version}: "
                "nothing is opened until they agree"
            )
        self._kept, self._copy, self._problems = best, best or mirrored, tuple(problems)
        if best is None or not answered:
            return answered
        agrees = stored is not None and stored.rank == best.rank
        if stored is not None and stored.version < best.version:
            older = f"the store holds version {stored.version}, older than version {best.version} known here"
            self._problems = (*self._problems, older)
        if not agrees and self._writer:
            agrees = await self._repair(best, renew=damaged or len(rivals) > 1)
        if agrees:
            self._confirm()
        await self._save_backup()
        return True

    def _read(self, raw: bytes | None, name: str, problems: list[str]) -> PolicyCopy | None:
        if raw is None:
            return None
        try:
            return decode_copy(raw)
        except BadCopy as error:
            problems.append(f"{name} is refused: {error}")
            self._claimed = max(self._claimed, error.claimed_version or 0)
            return None

    def _read_backup(self, problems: list[str]) -> PolicyCopy | None:
        if self._disk is None:
            return None
        try:
            self._backup = self._disk.read(self._file)
        except DiskError as error:
            self._backup = None
            problems.append(f"the backup {self._file} cannot be read: {error}")
        return self._read(self._backup, f"the backup {self._file}", problems)

    def _read_mirror(self, problems: list[str]) -> PolicyCopy | None:
        if self._mirror is None:
            return None
        try:
            raw = self._mirror()
        except OSError as error:
            problems.append(f"the mirror of the policy cannot be read: {error.strerror or error}")
            return None
        return self._read(raw, "the mirror of the policy", problems)

    async def _repair(self, best: PolicyCopy, *, renew: bool) -> bool:
        """Put ``best`` into the store: as it is into an empty or older one, as a new version over a rival or damage."""
        try:
            if renew:
                await self._write(best.desk, "policy store (repair)", best.hold, 0)
                return True
            return await self._kv.set_if_higher(self.key, best.version, encode_copy(best))
        except Exception as error:  # noqa: BLE001  a claim is the caller's code, and looking never raises
            self._problems = (*self._problems, f"the policy store could not be repaired: {error}")
            return False

    async def _write(self, desk: DeskManifests, who: str, hold: str, floor: int) -> None:
        """Make ``desk`` the next version. The file is written first: a version once given out is never given again."""
        known, backup = self._copy, self._backup
        changes = tuple(diff_policies(known.desk if known else None, desk))
        changes += tuple(diff_holds(known.hold if known else "", hold))
        highest = max(known.version if known else 0, floor)
        if self._claimed <= highest + _BELIEVABLE_STEP:
            highest = max(highest, self._claimed)
        for version in range(highest + 1, highest + 1 + _TRIES):
            if version > MOST_VERSION:
                raise StoreUnavailable(
                    f"version {version - 1} of the policy is the last there can be: nothing was changed; "
                    "make the policy anew under another name"
                )
            try:
                if self._claim is not None:
                    await self._claim(version)
                entry = HistoryEntry(version, self._clock.utc_now(), who, changes)
                history = ((known.history if known else ()) + (entry,))[-MOST_HISTORY:]
                copy = shortened(PolicyCopy(version, desk, history, hold))
                data = encode_copy(copy)
                if self._disk is not None:
                    await self._disk.replace(self._file, data)
                    self._backup = data
            except BaseException:
                # What an earlier round wrote came into force nowhere else.
                self._copy = self._kept = known
                if self._disk is not None and backup is not None and backup != self._backup:
                    with contextlib.suppress(DiskError):
                        await self._disk.replace(self._file, backup)
                raise
            self._copy = self._kept = copy
            self._doubted = False
            try:
                stored = await self._kv.set_if_higher(self.key, version, data)
            except StoreUnavailable as error:
                # In force here and safe on disk; the next refresh brings it to the store.
                self._confirmed = None
                self._problems = (*self._problems, f"the policy store does not answer ({error}): stale until it does")
                return
            if stored:
                self._confirm()
                return
        self._confirmed = None
        self._problems = (
            *self._problems,
            f"the store holds a version above {highest + _TRIES} that cannot be read: "
            f"remove the key {self.key} once you know why",
        )

    def _confirm(self) -> None:
        self._confirmed, self._fetched_at = self._clock.monotonic(), self._clock.utc_now()

    async def _save_backup(self) -> None:
        if self._disk is None or self._kept is None:
            return
        data = encode_copy(self._kept)
        if data == self._backup:
            return
        try:
            await self._disk.replace(self._file, data)
            self._backup = data
        except DiskError as error:
            self._problems = (*self._problems, f"the backup {self._file} cannot be written: {error}")

    async def _announce(self) -> PolicyInForce | None:
        """Tell ``on_change`` what it has not been told; while the bus is away that waits for the next `refresh`."""
        in_force, before = self.current(), self._announced
        if in_force is None or (before is not None and before.version == in_force.version):
            return in_force
        copy = self._copy
        if self._on_change is not None:
            try:
                changes = diff_policies(before.desk if before else None, in_force.desk)
                changes += diff_holds(before.hold if before else "", in_force.hold)
                await self._on_change(in_force, tuple(changes))
            except BusUnavailable as error:
                log.warning("a policy is in force and not announced yet", version=in_force.version, error=str(error))
                return in_force
        self._announced = copy
        return in_force


def _differs(mirrored: PolicyCopy, best: PolicyCopy | None) -> bool:
    """Whether the mirror says what no other copy does. An older one is merely late."""
    if best is None or mirrored.version > best.version:
        return True
    return mirrored.version == best.version and mirrored.content_digest != best.content_digest
