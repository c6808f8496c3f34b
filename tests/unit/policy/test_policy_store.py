from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from breakwater.runtime.bus import BusUnavailable
from breakwater.runtime.manifests import DeskManifests
from breakwater.runtime.policy_copy import BadCopy, PolicyCopy, decode_copy, encode_copy
from breakwater.runtime.policy_diff import Change, diff_limits, diff_policies
from breakwater.runtime.policy_store import BACKUP_FILE, PolicyInForce, PolicyStore
from breakwater.runtime.ports import DiskError, StoreUnavailable

Desk = Callable[..., DeskManifests]
KEY = "breakwater:a:policy"


@pytest.fixture
def store(kv: Any, disk: Any, clock: Any) -> PolicyStore:
    return PolicyStore(kv, disk, clock, desk="a", writer=True)


@pytest.fixture
def reader(kv: Any, clock: Any) -> PolicyStore:
    return PolicyStore(kv, None, clock, desk="a")


async def test_first_policy_is_version_one_in_store_and_file(
    store: PolicyStore, kv: Any, disk: Any, desk_of: Desk
) -> None:
    assert store.current() is None
    found = await store.apply(desk_of(), who="ann")
    assert (found.version, found.stale, found.problems) == (1, False, ())
    assert found.limits.max_leverage.value == 30
    assert kv.values[KEY] == disk.files[BACKUP_FILE]


async def test_same_policy_again_keeps_the_version(store: PolicyStore, desk_of: Desk) -> None:
    await store.apply(desk_of(limits="maxExposurePct: 150.0"), who="ann")
    same = desk_of(limits="maxExposurePct: 150", stop="reset: {requestID: r1, tripID: t1, reason: ok}")
    assert (await store.apply(same, who="bob")).version == 1
    assert [entry.who for entry in store.history()] == ["ann"]


async def test_each_change_raises_the_version_and_leaves_history(store: PolicyStore, desk_of: Desk, clock: Any) -> None:
    await store.apply(desk_of(), who="ann")
    clock.elapsed = 5
    found = await store.apply(desk_of("DEFENSIVE"), who="bob")
    assert (found.version, found.limits.max_leverage.value) == (2, 10)
    last = store.history()[-1]
    assert (last.version, last.who, last.time) == (2, "bob", clock.utc_now())
    assert last.changes == (Change("TradingPolicy.spec.profile", "NORMAL", "DEFENSIVE"),)


async def test_history_keeps_the_last_fifty(store: PolicyStore, desk_of: Desk) -> None:
    for count in range(60):
        await store.apply(desk_of(limits=f"maxExposurePct: {100 + count}"), who="ann")
    assert [entry.version for entry in store.history()] == list(range(11, 61))


async def test_lost_redis_goes_on_from_the_file_and_version_never_falls(
    store: PolicyStore, kv: Any, disk: Any, clock: Any, desk_of: Desk
) -> None:
    await store.apply(desk_of(), who="ann")
    await store.apply(desk_of("DEFENSIVE"), who="ann")
    kv.wipe()
    again = PolicyStore(kv, disk, clock, desk="a", writer=True)
    found = await again.refresh()
    assert found is not None
    assert (found.version, found.stale, kv.versions[KEY]) == (2, False, 2)
    assert (await again.apply(desk_of(), who="ann")).version == 3


async def test_lost_file_is_written_again_from_redis(store: PolicyStore, disk: Any, desk_of: Desk) -> None:
    await store.apply(desk_of(), who="ann")
    disk.files.clear()
    await store.refresh()
    assert decode_copy(disk.files[BACKUP_FILE]).version == 1


async def test_start_without_redis_has_limits_but_is_stale(
    store: PolicyStore, kv: Any, disk: Any, clock: Any, desk_of: Desk
) -> None:
    await store.apply(desk_of("DEFENSIVE"), who="ann")
    kv.away = True
    again = PolicyStore(kv, disk, clock, desk="a", writer=True)
    found = await again.refresh()
    assert found is not None
    assert (found.stale, found.limits.max_leverage.value, found.fetched_at) == (True, 10, None)
    assert "does not answer" in found.problems[0]
    with pytest.raises(StoreUnavailable, match="nothing was changed"):
        await again.apply(desk_of(), who="ann")
    assert decode_copy(disk.files[BACKUP_FILE]).version == 1


async def test_copy_is_stale_after_ten_minutes_without_redis_and_fresh_again_after(
    store: PolicyStore, kv: Any, clock: Any, desk_of: Desk
) -> None:
    await store.apply(desk_of(), who="ann")
    kv.away = True
    clock.elapsed = 600
    found = await store.refresh()
    assert found is not None
    assert not found.stale
    clock.elapsed = 600.5
    assert (current := store.current()) is not None
    assert current.stale
    kv.away = False
    found = await store.refresh()
    assert found is not None
    assert (found.stale, found.fetched_at) == (False, clock.utc_now())


@pytest.mark.parametrize("where", ["store", "file"])
async def test_tampered_copy_is_refused_and_the_other_one_holds(
    store: PolicyStore, kv: Any, disk: Any, clock: Any, desk_of: Desk, where: str
) -> None:
    await store.apply(desk_of("DEFENSIVE"), who="ann")
    files, name = (kv.values, KEY) if where == "store" else (disk.files, BACKUP_FILE)
    files[name] = files[name].replace(b"DEFENSIVE", b"AGGRESSIVE")
    again = PolicyStore(kv, disk, clock, desk="a", writer=True)
    found = await again.refresh()
    assert found is not None
    assert found.limits.max_leverage.value == 10
    assert "digest does not match" in found.problems[0]
    healed = await again.refresh()
    assert healed is not None
    assert (healed.problems, healed.stale) == ((), False)
    assert healed.version == (2 if where == "store" else 1)


async def test_both_copies_damaged_leaves_nothing_in_force(kv: Any, disk: Any, clock: Any) -> None:
    kv.values[KEY] = b"{"
    disk.files[BACKUP_FILE] = b""
    found = PolicyStore(kv, disk, clock, desk="a", writer=True)
    assert await found.refresh() is None


async def test_higher_valid_version_wins_over_a_looser_lower_one(kv: Any, disk: Any, clock: Any, desk_of: Desk) -> None:
    kv.values[KEY], kv.versions[KEY] = encode_copy(PolicyCopy(4, desk_of("DEFENSIVE"), ())), 4
    disk.files[BACKUP_FILE] = encode_copy(PolicyCopy(5, desk_of("AGGRESSIVE"), ()))
    found = await PolicyStore(kv, disk, clock, desk="a", writer=True).refresh()
    assert found is not None
    assert (found.version, found.policy.profile, kv.versions[KEY]) == (5, "AGGRESSIVE", 5)


@pytest.mark.parametrize("stored", ["DEFENSIVE", "NORMAL"])
async def test_two_policies_of_one_version_give_the_stricter_as_a_new_version(
    kv: Any, disk: Any, clock: Any, desk_of: Desk, stored: str
) -> None:
    other = {"DEFENSIVE": "NORMAL", "NORMAL": "DEFENSIVE"}[stored]
    kv.values[KEY], kv.versions[KEY] = encode_copy(PolicyCopy(4, desk_of(stored), ())), 4
    disk.files[BACKUP_FILE] = encode_copy(PolicyCopy(4, desk_of(other), ()))
    store = PolicyStore(kv, disk, clock, desk="a", writer=True)
    found = await store.refresh()
    assert found is not None
    assert found.policy.profile == "DEFENSIVE"
    assert "two different policies claim version 4" in found.problems[0]
    await store.refresh()
    assert decode_copy(kv.values[KEY]).desk.policy.spec.profile == "DEFENSIVE"
    if stored == "NORMAL":
        assert decode_copy(kv.values[KEY]).version == 5


@pytest.mark.parametrize("low", range(100, 180, 10))
def test_copies_of_one_version_rank_the_stricter_first(desk_of: Desk, low: int) -> None:
    strict, loose = (PolicyCopy(4, desk_of(limits=f"maxExposurePct: {x}"), ()) for x in (low, low + 5))
    assert strict.rank < loose.rank
    assert PolicyCopy(5, loose.desk, ()).rank < strict.rank


async def test_reader_follows_but_never_writes_the_store(
    store: PolicyStore, reader: PolicyStore, kv: Any, desk_of: Desk
) -> None:
    await store.apply(desk_of(), who="ann")
    assert (found := await reader.refresh()) is not None
    assert (found.version, found.stale) == (1, False)
    kv.wipe()
    assert (found := await reader.refresh()) is not None
    assert found.version == 1
    assert kv.values == {}
    with pytest.raises(ValueError, match="may only read"):
        await reader.apply(desk_of(), who="eve")


async def test_full_disk_refuses_the_change_and_keeps_the_old_policy(
    store: PolicyStore, kv: Any, disk: Any, desk_of: Desk
) -> None:
    await store.apply(desk_of(), who="ann")
    disk.full = True
    with pytest.raises(DiskError, match="no space left"):
        await store.apply(desk_of("DEFENSIVE"), who="ann")
    assert (current := store.current()) is not None
    assert (current.version, kv.versions[KEY]) == (1, 1)


async def test_redis_lost_between_file_and_store_is_stale_and_heals(store: PolicyStore, kv: Any, desk_of: Desk) -> None:
    await store.apply(desk_of(), who="ann")
    kv.refuse_writes = True
    found = await store.apply(desk_of("DEFENSIVE"), who="ann")
    assert (found.version, found.stale) == (2, True)
    kv.refuse_writes = False
    assert (found2 := await store.refresh()) is not None
    assert (found2.version, found2.stale, kv.versions[KEY]) == (2, False, 2)


async def test_change_is_told_once_with_what_changed(kv: Any, disk: Any, clock: Any, desk_of: Desk) -> None:
    told: list[tuple[int, int]] = []

    async def on_change(found: PolicyInForce, changes: tuple[Change, ...]) -> None:
        told.append((found.version, len(changes)))

    store = PolicyStore(kv, disk, clock, desk="a", writer=True, on_change=on_change)
    await store.apply(desk_of(), who="ann")
    await store.refresh()
    await store.apply(desk_of(), who="ann")
    await store.apply(desk_of("DEFENSIVE"), who="ann")
    assert [version for version, _ in told] == [1, 2]
    assert told[1] == (2, 1)


async def test_change_that_the_bus_did_not_take_is_told_with_the_next_look(
    kv: Any, disk: Any, clock: Any, desk_of: Desk
) -> None:
    told: list[int] = []
    away = True

    async def on_change(found: PolicyInForce, changes: tuple[Change, ...]) -> None:
        if away:
            raise BusUnavailable("Redis is away")
        told.append(found.version)

    store = PolicyStore(kv, disk, clock, desk="a", writer=True, on_change=on_change)
    assert (await store.apply(desk_of(), who="ann")).version == 1
    await store.refresh()  # as keep_fresh does: it must not end for this
    away = False
    await store.refresh()
    await store.refresh()
    assert told == [1]


async def test_snapshot_restores_as_a_new_version(store: PolicyStore, desk_of: Desk) -> None:
    await store.apply(desk_of("DEFENSIVE"), who="ann")
    snapshot = store.snapshot()
    assert snapshot is not None
    await store.apply(desk_of("AGGRESSIVE"), who="ann")
    found = await store.restore(snapshot, who="bob")
    assert (found.version, found.policy.profile) == (3, "DEFENSIVE")
    with pytest.raises(BadCopy):
        await store.restore(snapshot[:-9], who="bob")


def test_copy_cut_anywhere_is_refused(desk_of: Desk) -> None:
    data = encode_copy(PolicyCopy(1, desk_of(limits="maxExposurePct: 0.1e3"), ()))
    assert encode_copy(decode_copy(data)) == data
    for size in range(0, len(data), 7):
        with pytest.raises(BadCopy):
            decode_copy(data[:size])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 0}, "no valid version"),
        ({"version": 2.0}, "no valid version"),
        ({"version": 9}, "digest does not match"),
        ({"format": 2}, "its format is 2"),
        ({"extra": 1}, "digest does not match"),
    ],
)
def test_copy_with_a_changed_field_is_refused(desk_of: Desk, change: dict[str, Any], reason: str) -> None:
    body = json.loads(encode_copy(PolicyCopy(1, desk_of(), ())))
    with pytest.raises(BadCopy, match=reason):
        decode_copy(json.dumps(body | change).encode())


def test_diff_names_fields_and_limits_in_force(desk_of: Desk) -> None:
    before, after = desk_of(), desk_of("DEFENSIVE", limits="maxLeverage: 5", stop="cooldownMinutes: 30")
    assert [str(change) for change in diff_policies(before, after)] == [
        "EmergencyStop.spec.cooldownMinutes: 15 -> 30",
        "TradingPolicy.spec.limits.maxLeverage: not set -> 5",
        "TradingPolicy.spec.profile: NORMAL -> DEFENSIVE",
    ]
    assert {str(change) for change in diff_limits(before, after)} == {
        "effective.maxLeverage: 30 -> 5",
        "effective.leverage: 10 -> 5",
        "effective.maxRiskPerTradePct: 2 -> 1",
        "effective.maxDailyDrawdownPct: 5 -> 3",
    }
