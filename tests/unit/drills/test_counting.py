"""The judge of the Redis drill finds what it is there to find."""

from __future__ import annotations

from datetime import UTC, datetime

from breakwater.domain.ids import DeskId
from breakwater.drills.counting import Deliveries
from breakwater.runtime.events import Event, HealthUpdated, PolicyUpdated

NOW = datetime(2025, 10, 10, 20, tzinfo=UTC)


def event(sequence: int) -> Event:
    return Event(DeskId("d"), "p", 1, sequence, NOW, "health.updated", HealthUpdated(NOW, "ok", {}))


def judged(handled: list[int], *, published: int = 3) -> tuple[Deliveries, str]:
    deliveries = Deliveries()
    group = deliveries.group("g", ("p",), (HealthUpdated,))
    for number in range(1, published + 1):
        deliveries.published["p", 1, number] = HealthUpdated
    for number in handled:
        deliveries.begun(group, event(number))
        deliveries.handled(group, event(number))
    return deliveries, group


def test_all_handled_once_in_order_is_whole() -> None:
    deliveries, _ = judged([1, 2, 3])
    report = deliveries.report(deliveries.wanted())
    assert (report.published, report.delivered, report.duplicates, report.lost) == (3, 3, 0, 0)
    assert deliveries.out_of_order == 0


def test_event_that_never_came_is_lost() -> None:
    deliveries, _ = judged([1, 3])
    report = deliveries.report(deliveries.wanted())
    assert (report.delivered, report.lost) == (2, 1)


def test_event_that_came_again_is_a_duplicate_and_not_out_of_order() -> None:
    deliveries, _ = judged([1, 2, 3, 2])
    assert deliveries.report(deliveries.wanted()).duplicates == 1
    assert deliveries.out_of_order == 0


def test_event_that_came_late_is_out_of_order() -> None:
    deliveries, _ = judged([1, 3, 2])
    assert deliveries.out_of_order == 1
    assert deliveries.report(deliveries.wanted()).lost == 0


def test_event_has_to_reach_every_group_that_wants_it_and_no_other() -> None:
    deliveries, _ = judged([1, 2, 3])
    deliveries.group("other", ("q",), (HealthUpdated,))
    deliveries.group("third", ("p",), (PolicyUpdated,))
    assert deliveries.report(deliveries.wanted()).lost == 0
    late = deliveries.group("second", ("p",), (HealthUpdated,))
    deliveries.begun(late, event(1))
    assert deliveries.report(deliveries.wanted()).lost == 2
