"""What the watches said, in whatever order, and what only a list shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from breakwater_operator.cluster.kinds import DEPLOYMENT, TRADING_POLICY, Kind
from breakwater_operator.store import Store


def body(name: str, version: int, uid: str = "u", namespace: str = "ns") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace, "uid": uid, "resourceVersion": str(version)}}


def nothing(kind: Kind, body: Mapping[str, Any], gone: bool) -> None:
    """A list's news that a test does not look at."""


def test_older_body_never_replaces_a_newer_one() -> None:
    store = Store()
    assert store.put(DEPLOYMENT, body("a", 5))
    assert not store.put(DEPLOYMENT, body("a", 4))
    assert not store.put(DEPLOYMENT, body("a", 5))
    assert store.versions(DEPLOYMENT) == {("ns", "a"): 5}


def test_late_event_of_a_deleted_object_does_not_bring_it_back() -> None:
    store = Store()
    store.put(DEPLOYMENT, body("a", 5))
    assert store.remove(DEPLOYMENT, body("a", 7))
    assert not store.put(DEPLOYMENT, body("a", 6))
    assert store.get(DEPLOYMENT, "ns", "a") is None
    assert store.put(DEPLOYMENT, body("a", 8, uid="new"))


def test_deletion_of_an_earlier_object_leaves_its_namesake() -> None:
    store = Store()
    store.put(DEPLOYMENT, body("a", 9, uid="new"))
    assert not store.remove(DEPLOYMENT, body("a", 8, uid="old"))
    assert store.get(DEPLOYMENT, "ns", "a") is not None


def test_list_prunes_what_a_broken_watch_never_reported() -> None:
    store = Store()
    for name in ("a", "b"):
        store.put(TRADING_POLICY, body(name, 3))
    store.put(TRADING_POLICY, body("c", 3, namespace="other"))
    told: list[tuple[str, bool]] = []
    before = store.versions(TRADING_POLICY)
    news = store.replace_all(
        TRADING_POLICY, "ns", [body("a", 4)], before, lambda _, b, gone: told.append((b["metadata"]["name"], gone))
    )
    assert news == 2
    assert told == [("a", False), ("b", True)]
    assert set(store.versions(TRADING_POLICY)) == {("ns", "a"), ("other", "c")}


def test_object_made_while_the_list_was_under_way_is_not_pruned() -> None:
    store = Store()
    before = store.versions(TRADING_POLICY)
    store.put(TRADING_POLICY, body("young", 9))
    store.replace_all(TRADING_POLICY, None, [], before, nothing)
    assert store.get(TRADING_POLICY, "ns", "young") is not None


@given(st.permutations([("put", 1), ("put", 2), ("put", 3), ("remove", 4)]))
def test_any_order_of_one_objects_events_ends_without_it(order: list[tuple[str, int]]) -> None:
    store = Store()
    for what, version in order:
        if what == "put":
            store.put(DEPLOYMENT, body("a", version))
        else:
            store.remove(DEPLOYMENT, body("a", version))
    assert store.get(DEPLOYMENT, "ns", "a") is None


def test_managed_fields_are_not_kept() -> None:
    store = Store()
    full = body("a", 1)
    full["metadata"]["managedFields"] = [{"manager": "x"}]
    store.put(DEPLOYMENT, full)
    kept = store.get(DEPLOYMENT, "ns", "a")
    assert kept is not None
    assert "managedFields" not in kept["metadata"]
