"""A hold, a floor, a claim and a mirror: what the operator needs of the policy store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from breakwater.runtime.manifests import DeskManifests
from breakwater.runtime.policy_copy import MOST_BYTES, BadCopy, PolicyCopy, decode_copy, encode_copy
from breakwater.runtime.policy_diff import Change
from breakwater.runtime.policy_mirror import file_mirror
from breakwater.runtime.policy_store import BACKUP_FILE, PolicyInForce, PolicyStore
from breakwater.runtime.ports import DiskError, StoreUnavailable

Desk = Callable[..., DeskManifests]
KEY = "breakwater:a:policy"
HOLD = "the desk has no EmergencyStop: apply one"


class ClaimLost(Exception):
    pass


@pytest.fixture
def store(kv: Any, disk: Any, clock: Any) -> PolicyStore:
    return PolicyStore(kv, disk, clock, desk="a", writer=True)


async def test_hold_is_a_version_of_its_own_and_lifting_it_another(store: PolicyStore, desk_of: Desk) -> None:
    free = await store.apply(desk_of(), who="ann")
    held = await store.apply(desk_of(), who="operator", hold=HOLD)
    again = await store.apply(desk_of(), who="operator", hold=HOLD)
    lifted = await store.apply(desk_of(), who="operator")
    assert [p.version for p in (free, held, again, lifted)] == [1, 2, 2, 3]
    assert [p.hold for p in (free, held, again, lifted)] == ["", HOLD, HOLD, ""]
    assert free.digest == lifted.digest != held.digest
    assert held.limits == free.limits
    assert [entry.changes for entry in store.history()[1:]] == [
        (Change("hold", None, HOLD),),
        (Change("hold", HOLD, None),),
    ]


async def test_hold_reaches_readers_through_the_store_and_through_a_mirror_alone(
    store: PolicyStore, kv: Any, clock: Any, desk_of: Desk
) -> None:
    await store.apply(desk_of(), who="operator", hold=HOLD)
    reader = PolicyStore(kv, None, clock, desk="a")
    found = await reader.refresh()
    assert found is not None
    assert (found.hold, found.stale) == (HOLD, False)
    mirrored = PolicyStore(kv, None, clock, desk="b", mirror=store.snapshot)
    found = await mirrored.refresh()
    assert found is not None
    assert (found.hold, found.stale, found.version) == (HOLD, True, 1)


def test_copy_without_a_hold_is_written_as_before_there_were_holds(desk_of: Desk) -> None:
    free, held = (PolicyCopy(3, desk_of(), (), hold) for hold in ("", HOLD))
    assert "hold" not in json.loads(encode_copy(free))
    assert decode_copy(encode_copy(held)) == held
    assert held.rank < free.rank
    assert PolicyCopy(4, desk_of(), ()).rank < held.rank


async def test_two_copies_of_one_version_where_one_is_on_hold_keep_the_hold(
    kv: Any, disk: Any, clock: Any, desk_of: Desk
) -> None:
    kv.values[KEY], kv.versions[KEY] = encode_copy(PolicyCopy(4, desk_of("DEFENSIVE"), ())), 4
    disk.files[BACKUP_FILE] = encode_copy(PolicyCopy(4, desk_of("AGGRESSIVE"), (), HOLD))
    found = await PolicyStore(kv, disk, clock, desk="a", writer=True).refresh()
    assert found is not None
    assert (found.version, found.hold) == (5, HOLD)


async def test_hold_that_was_tampered_away_is_refused(store: PolicyStore, kv: Any, clock: Any, desk_of: Desk) -> None:
    await store.apply(desk_of(), who="operator", hold=HOLD)
    kv.values[KEY] = kv.values[KEY].replace(HOLD.encode(), b"")
    assert await PolicyStore(kv, None, clock, desk="a").refresh() is None


async def test_change_says_that_a_hold_came_and_went(kv: Any, disk: Any, clock: Any, desk_of: Desk) -> None:
    told: list[list[str]] = []

    async def on_change(found: PolicyInForce, changes: tuple[Change, ...]) -> None:
        told.append([str(change) for change in changes])

    store = PolicyStore(kv, disk, clock, desk="a", writer=True, on_change=on_change)
    await store.apply(desk_of(), who="ann")
    await store.apply(desk_of(), who="operator", hold=HOLD)
    await store.apply(desk_of(), who="operator")
    assert told[1:] == [[f"hold: not set -> {HOLD}"], [f"hold: {HOLD} -> not set"]]


async def test_restored_snapshot_does_not_lift_a_hold(store: PolicyStore, desk_of: Desk) -> None:
    await store.apply(desk_of("DEFENSIVE"), who="ann")
    snapshot = store.snapshot()
    assert snapshot is not None
    await store.apply(desk_of("AGGRESSIVE"), who="ann", hold=HOLD)
    found = await store.restore(snapshot, who="bob")
    assert (found.policy.profile, found.hold) == ("DEFENSIVE", HOLD)


async def test_all_copies_lost_goes_on_above_the_floor(store: PolicyStore, kv: Any, clock: Any, desk_of: Desk) -> None:
    assert (await store.apply(desk_of(), who="operator", floor=41)).version == 42
    assert (await store.apply(desk_of(), who="operator", floor=42)).version == 42
    # The same policy, but a version that was given out elsewhere must not come back.
    assert (await store.apply(desk_of(), who="operator", floor=50)).version == 51
    assert kv.versions[KEY] == 51


async def test_claim_hears_each_version_before_anything_is_written(
    kv: Any, disk: Any, clock: Any, desk_of: Desk
) -> None:
    seen: list[tuple[int, bool]] = []

    async def claim(version: int) -> None:
        written = any(decode_copy(raw).version >= version for raw in (*kv.values.values(), *disk.files.values()))
        seen.append((version, written))

    store = PolicyStore(kv, disk, clock, desk="a", writer=True, claim=claim)
    await store.apply(desk_of(), who="operator")
    await store.apply(desk_of(), who="operator")
    await store.apply(desk_of("DEFENSIVE"), who="operator")
    assert seen == [(1, False), (2, False)]


@pytest.mark.parametrize("lost_at", [2, 3])
async def test_lost_claim_leaves_everything_as_it_was(
    kv: Any, disk: Any, clock: Any, desk_of: Desk, lost_at: int
) -> None:
    async def claim(version: int) -> None:
        if version == lost_at:
            raise ClaimLost

    store = PolicyStore(kv, disk, clock, desk="a", writer=True, claim=claim)
    await store.apply(desk_of(), who="operator")
    before = dict(kv.values), dict(disk.files)
    kv.versions[KEY] = lost_at - 1  # for 3: the store turns out to be ahead once version 2 is on its way
    with pytest.raises(ClaimLost):
        await store.apply(desk_of("DEFENSIVE"), who="operator")
    assert (kv.values, disk.files) == before
    found = store.current()
    assert found is not None
    assert (found.version, found.policy.profile) == (1, "NORMAL")


async def test_repair_whose_claim_is_lost_is_a_problem_and_no_end(
    kv: Any, disk: Any, clock: Any, desk_of: Desk
) -> None:
    async def claim(version: int) -> None:
        if version > 1:
            raise ClaimLost("somebody else wrote the status")

    store = PolicyStore(kv, disk, clock, desk="a", writer=True, claim=claim)
    await store.apply(desk_of(), who="operator")
    kv.values[KEY] = b"{"
    found = await store.refresh()
    assert found is not None
    assert found.version == 1
    assert "somebody else wrote the status" in found.problems[-1]


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"\xff" * 9])
async def test_damaged_mirror_is_said_and_changes_nothing(
    store: PolicyStore, kv: Any, clock: Any, desk_of: Desk, content: bytes
) -> None:
    await store.apply(desk_of("DEFENSIVE"), who="ann")
    reader = PolicyStore(kv, None, clock, desk="a", mirror=lambda: content)
    found = await reader.refresh()
    assert found is not None
    assert (found.version, found.stale, found.policy.profile) == (1, False, "DEFENSIVE")
    assert "mirror" in found.problems[0]


async def test_mirror_that_comes_goes_and_cannot_be_read_is_looked_at_again(
    store: PolicyStore, kv: Any, clock: Any, desk_of: Desk
) -> None:
    await store.apply(desk_of("DEFENSIVE"), who="ann")
    answers: list[bytes | OSError | None] = [None, PermissionError(13, "Permission denied"), store.snapshot()]

    def mirror() -> bytes | None:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    kv.away = True
    reader = PolicyStore(kv, None, clock, desk="a", mirror=mirror)
    assert await reader.refresh() is None
    assert await reader.refresh() is None
    found = await reader.refresh()
    assert found is not None
    assert (found.policy.profile, found.stale) == ("DEFENSIVE", True)


def test_mirror_in_a_file_may_be_missing_and_is_read_anew_each_time(tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    mirror = file_mirror(file)
    assert mirror() is None
    file.write_bytes(b"one")
    assert mirror() == b"one"
    file.write_bytes(b"x" * (MOST_BYTES + 100))
    with pytest.raises(BadCopy, match="more than"):
        decode_copy(mirror() or b"")
    file.unlink()
    file.mkdir()
    with pytest.raises(IsADirectoryError):
        mirror()


class Mirrored:
    """A desk whose ConfigMap says ``content``, read by a component with a backup file."""

    def __init__(self, kv: Any, disk: Any, clock: Any, desk_of: Desk) -> None:
        self.kv, self.disk, self.clock, self.desk_of = kv, disk, clock, desk_of
        self.content: bytes | None = None

    def store_holds(self, version: int, profile: str, hold: str = "") -> None:
        self.kv.values[KEY], self.kv.versions[KEY] = self.copy(version, profile, hold), version

    def copy(self, version: int, profile: str, hold: str = "") -> bytes:
        return encode_copy(PolicyCopy(version, self.desk_of(profile), (), hold))

    def reader(self) -> PolicyStore:
        return PolicyStore(self.kv, self.disk, self.clock, desk="a", mirror=lambda: self.content)


@pytest.fixture
def mirrored(kv: Any, disk: Any, clock: Any, desk_of: Desk) -> Mirrored:
    return Mirrored(kv, disk, clock, desk_of)


@pytest.mark.parametrize(("version", "profile"), [(5, "DEFENSIVE"), (5, "AGGRESSIVE"), (4, "AGGRESSIVE")])
async def test_mirror_that_says_otherwise_closes_at_once_and_gives_no_limits(
    mirrored: Mirrored, version: int, profile: str
) -> None:
    mirrored.store_holds(4, "NORMAL")
    reader = mirrored.reader()
    before = await reader.refresh()
    assert before is not None
    assert not before.stale
    mirrored.content = mirrored.copy(version, profile)
    found = await reader.refresh()
    assert found is not None
    assert (found.version, found.policy.profile, found.stale) == (4, "NORMAL", True)
    assert "mirror" in found.problems[-1]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("store_away", [False, True])
@pytest.mark.parametrize("known_before", [False, True])
async def test_mirror_that_goes_back_leaves_no_trace(
    mirrored: Mirrored, restarted: bool, store_away: bool, known_before: bool
) -> None:
    mirrored.store_holds(4, "NORMAL")
    reader = mirrored.reader()
    if known_before:
        await reader.refresh()
    mirrored.content, mirrored.kv.away = mirrored.copy(9, "AGGRESSIVE"), store_away
    ahead = await reader.refresh()
    assert ahead is not None
    assert ahead.stale
    mirrored.content, mirrored.kv.away = mirrored.copy(4, "NORMAL"), False
    reader = mirrored.reader() if restarted else reader
    found = await reader.refresh()
    assert found is not None
    assert (found.version, found.policy.profile, found.stale, found.problems) == (4, "NORMAL", False, ())


async def test_store_that_passes_the_mirror_opens_again(mirrored: Mirrored) -> None:
    mirrored.store_holds(4, "NORMAL")
    mirrored.content = mirrored.copy(9, "AGGRESSIVE")
    reader = mirrored.reader()
    await reader.refresh()
    mirrored.store_holds(10, "DEFENSIVE")
    found = await reader.refresh()
    assert found is not None
    assert (found.version, found.policy.profile, found.stale) == (10, "DEFENSIVE", False)


async def test_mirror_behind_the_store_is_merely_late(mirrored: Mirrored) -> None:
    mirrored.store_holds(4, "NORMAL")
    mirrored.content = mirrored.copy(3, "AGGRESSIVE")
    found = await mirrored.reader().refresh()
    assert found is not None
    assert (found.version, found.stale, found.problems) == (4, False, ())


async def test_store_away_keeps_what_it_said_last_whatever_the_mirror_says(mirrored: Mirrored) -> None:
    mirrored.store_holds(4, "DEFENSIVE")
    await mirrored.reader().refresh()
    mirrored.kv.away, mirrored.content = True, mirrored.copy(9, "AGGRESSIVE")
    found = await mirrored.reader().refresh()
    assert found is not None
    assert (found.version, found.policy.profile, found.stale) == (4, "DEFENSIVE", True)


async def test_store_that_lost_versions_says_so_and_never_lowers_what_was_confirmed(
    mirrored: Mirrored, clock: Any
) -> None:
    mirrored.store_holds(9, "DEFENSIVE")
    reader = mirrored.reader()
    await reader.refresh()
    mirrored.store_holds(7, "AGGRESSIVE")
    found = await reader.refresh()
    assert found is not None
    assert (found.version, found.policy.profile) == (9, "DEFENSIVE")
    assert found.problems == ("the store holds version 7, older than version 9 known here",)
    await clock.sleep(601)
    await reader.refresh()
    assert (reader.current() or found).stale


async def test_writer_with_a_mirror_goes_above_it_and_is_sure_again(mirrored: Mirrored) -> None:
    mirrored.content = mirrored.copy(9, "NORMAL")
    writer = PolicyStore(
        mirrored.kv, mirrored.disk, mirrored.clock, desk="a", writer=True, mirror=lambda: mirrored.content
    )
    found = await writer.apply(mirrored.desk_of("NORMAL"), who="ann")
    assert (found.version, found.stale, mirrored.kv.versions) == (10, False, {KEY: 10})
    mirrored.content = mirrored.copy(12, "AGGRESSIVE")
    found = await writer.apply(mirrored.desk_of("NORMAL"), who="ann")
    assert (found.version, found.stale, found.policy.profile) == (13, False, "NORMAL")


async def test_snapshot_restored_by_a_process_that_has_not_looked_does_not_lift_a_hold(
    store: PolicyStore, kv: Any, disk: Any, clock: Any, desk_of: Desk
) -> None:
    await store.apply(desk_of("DEFENSIVE"), who="ann")
    snapshot = store.snapshot()
    assert snapshot is not None
    await store.apply(desk_of("DEFENSIVE"), who="operator", hold=HOLD)
    found = await PolicyStore(kv, disk, clock, desk="a", writer=True).restore(snapshot, who="bob")
    assert found.hold == HOLD


async def test_disk_full_in_a_second_round_leaves_everything_as_it_was(
    store: PolicyStore, kv: Any, disk: Any, desk_of: Desk
) -> None:
    await store.apply(desk_of(), who="ann")
    before = dict(kv.values), dict(disk.files)
    kv.versions[KEY] = 2  # the store turns out to be ahead once version 2 is on its way
    whole, disk.written = disk.replace, 0

    async def replace(name: str, data: bytes) -> None:
        disk.written += 1
        if disk.written == 2:
            raise DiskError("no space left on device")
        await whole(name, data)

    disk.replace = replace
    with pytest.raises(DiskError):
        await store.apply(desk_of("AGGRESSIVE"), who="ann")
    assert (kv.values, disk.files) == before
    found = store.current()
    assert found is not None
    assert (found.version, found.policy.profile) == (1, "NORMAL")


async def test_history_of_long_sentences_is_cut_before_readers_refuse_the_copy(
    store: PolicyStore, kv: Any, disk: Any, clock: Any, desk_of: Desk
) -> None:
    long = " ".join(f"stop-number-{number}" for number in range(600))
    for version in range(1, 61):
        found = await store.apply(desk_of(), who="operator", hold=f"{version}: {long}")
        assert (found.version, found.problems) == (version, ())
    assert len(kv.values[KEY]) <= MOST_BYTES // 2
    assert store.history()[-1].version == 60
    reader = await PolicyStore(kv, None, clock, desk="a").refresh()
    assert reader is not None
    assert (reader.version, reader.stale) == (60, False)


@pytest.mark.parametrize("floor", [2**53 - 1, 2**60])
async def test_no_version_left_is_refused_and_what_holds_stays(
    store: PolicyStore, kv: Any, disk: Any, desk_of: Desk, floor: int
) -> None:
    before = await store.apply(desk_of(), who="ann")
    with pytest.raises(StoreUnavailable, match="the last there can be"):
        await store.apply(desk_of("AGGRESSIVE"), who="ann", floor=floor)
    assert store.current() == before
    assert decode_copy(kv.values[KEY]).version == decode_copy(disk.files[BACKUP_FILE]).version == 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["NORMAL", "DEFENSIVE", "AGGRESSIVE"]),
        st.sampled_from(["", HOLD, "two stops"]),
        st.integers(0, 12),
        st.sampled_from(["", "wipe store", "lose file", "restart", "away", "claim lost"]),
    ),
    max_size=12,
)


@given(steps=STEPS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_happens_versions_rise_and_what_holds_is_what_was_applied_last(
    steps: list[tuple[str, str, int, str]], desk_of: Desk, request: pytest.FixtureRequest
) -> None:
    kv, disk, clock = (type(request.getfixturevalue(name))() for name in ("kv", "disk", "clock"))
    claimed: list[int] = []
    refuse = False

    async def claim(version: int) -> None:
        if refuse:
            raise ClaimLost
        claimed.append(version)

    def fresh() -> PolicyStore:
        return PolicyStore(kv, disk, clock, desk="a", writer=True, claim=claim)

    store, last = fresh(), None
    for profile, hold, floor, trouble in steps:
        if trouble == "wipe store":
            kv.wipe()
        elif trouble == "lose file":
            disk.files.clear()
        elif trouble == "restart":
            store = fresh()
        kv.away, refuse = trouble == "away", trouble == "claim lost"
        try:
            found = await store.apply(desk_of(profile), who="operator", hold=hold, floor=floor)
        except (StoreUnavailable, ClaimLost):
            now = store.current()
            assert (now.version, now.hold) == (last.version, last.hold) if now and last else now is last is None
            continue
        assert (found.policy.profile, found.hold, found.stale) == (profile, hold, False)
        assert found.version >= max(floor, last.version if last else 0)
        unchanged = last is not None and (last.digest, last.version >= floor) == (found.digest, True)
        assert (found.version == last.version) if last and unchanged else found.version == claimed[-1]
        assert decode_copy(kv.values[KEY]).version == decode_copy(disk.files[BACKUP_FILE]).version == found.version
        last = found
    assert claimed == sorted(set(claimed))
