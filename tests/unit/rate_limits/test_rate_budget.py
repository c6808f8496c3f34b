"""The limits of the venue as buckets and counters, at any demand."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from breakwater.domain.rate_budget import Cost, Lane, RateBudget, Resource, VenueLimits

ORDER = Cost(command=True, orders=1)
LIMITS = VenueLimits()
GRAIN_S = 0.001

lanes = st.sampled_from(Lane)
costs = st.sampled_from([ORDER, Cost(weight=1, command=True), Cost(weight=5), Cost(weight=40), Cost(weight=10)])
steps = st.lists(st.tuples(lanes, costs, st.sampled_from([0.0, 0.001, 0.05, 0.7, 11.0, 61.0])), max_size=400)


def drawn(budget: RateBudget, lane: Lane, cost: Cost, seconds: float, *, begin: float = 0.0) -> list[float]:
    """When requests went, somebody always asking."""
    at, times = begin, []
    while at < begin + seconds:
        lack = budget.take(lane, cost, at, at)
        if lack is None:
            times.append(at)
        else:
            at += max(lack.wait_s, GRAIN_S)
    return times


@given(steps, st.floats(0, 100))
def test_what_the_venue_grants_is_never_exceeded_by_any_mix_of_lanes(
    asked: list[tuple[Lane, Cost, float]], utc_s: float
) -> None:
    budget, now = RateBudget(LIMITS, 0.0), 0.0
    commands: deque[float] = deque()
    weight: dict[int, int] = {}
    orders_10s: dict[int, int] = {}
    orders_1m: dict[int, int] = {}
    for lane, cost, pause in asked:
        for _ in range(30):
            if budget.take(lane, cost, now, utc_s + now) is not None:
                break
            minute, tens = int((utc_s + now) // 60), int((utc_s + now) // 10)
            weight[minute] = weight.get(minute, 0) + cost.weight
            orders_1m[minute] = orders_1m.get(minute, 0) + cost.orders
            orders_10s[tens] = orders_10s.get(tens, 0) + cost.orders
            if cost.command:
                commands.append(now)
        now += pause
    assert all(used <= LIMITS.weight_per_minute for used in weight.values())
    assert all(used <= LIMITS.orders_per_minute for used in orders_1m.values())
    assert all(used <= LIMITS.orders_per_10s for used in orders_10s.values())
    times = list(commands)
    assert all(later - times[n] >= 60 for n, later in enumerate(times[LIMITS.commands :]))


@given(steps)
def test_exit_is_never_refused_while_an_entry_would_be_granted(asked: list[tuple[Lane, Cost, float]]) -> None:
    budget, now = RateBudget(LIMITS, 0.0), 0.0
    for lane, cost, pause in asked:
        for lower, upper in ((Lane.QUERIES, Lane.PROTECTION), (Lane.ENTRIES, Lane.PROTECTION), (lane, Lane.EXITS)):
            if budget.lack(lower, cost, now, now) is None:
                assert budget.lack(upper, cost, now, now) is None
        budget.take(lane, cost, now, now)
        now += pause


def test_entries_at_full_demand_keep_to_1200_in_any_minute_and_lose_little_of_it() -> None:
    paced = Cost(command=True)  # the order counts of the venue's own minutes are another limit
    times = drawn(RateBudget(LIMITS, 0.0), Lane.ENTRIES, paced, 180.0)
    first = sum(1 for at in times if at < 60)
    assert 1150 <= first <= 1200
    assert all(later - times[n] >= 60 for n, later in enumerate(times[1200:]))


def test_burst_is_credited_after_idling() -> None:
    budget = RateBudget(LIMITS, 0.0)
    drawn(budget, Lane.ENTRIES, ORDER, 5.0)
    at_once = [at for at in drawn(budget, Lane.ENTRIES, ORDER, 0.01, begin=20.0) if at == 20.0]
    assert len(at_once) == LIMITS.burst - LIMITS.reserve


def test_exits_put_the_bucket_in_debt_and_entries_make_up_for_it() -> None:
    budget = RateBudget(LIMITS, 0.0)
    for _ in range(100):
        assert budget.take(Lane.EXITS, ORDER, 0.0, 0.0) is None
    lack = budget.take(Lane.ENTRIES, ORDER, 0.0, 0.0)
    assert lack is not None
    assert lack.resource is Resource.COMMANDS
    assert lack.wait_s > 2


def test_count_in_the_header_goes_before_our_own_and_queries_stop_first() -> None:
    budget = RateBudget(LIMITS, 0.0)
    budget.heard(1930, None, None, 20.0, 20.0)
    query = Cost(weight=5)
    lack = budget.take(Lane.QUERIES, query, 20.0, 20.0)
    assert lack is not None
    assert lack.wait_s == 40
    assert budget.take(Lane.PROTECTION, query, 20.0, 20.0) is None
    budget.heard(2390, None, None, 20.0, 20.0)
    assert budget.take(Lane.PROTECTION, query, 20.0, 20.0) is not None
    assert budget.take(Lane.EXITS, query, 20.0, 20.0) is None
    assert budget.take(Lane.QUERIES, query, 60.0, 60.0) is None


def test_order_count_of_ten_seconds_leaves_some_to_exits() -> None:
    budget = RateBudget(LIMITS, 0.0)
    budget.heard(None, LIMITS.orders_per_10s - LIMITS.reserve, None, 3.0, 3.0)
    assert budget.take(Lane.PROTECTION, ORDER, 3.0, 3.0) is not None
    assert budget.take(Lane.EXITS, ORDER, 3.0, 3.0) is None


@given(st.integers(1, 8), st.sampled_from([Lane.ENTRIES, Lane.PROTECTION]))
def test_parts_of_a_budget_never_exceed_the_whole_together(members: int, lane: Lane) -> None:
    """Each on its own, from the moment the shared budget was lost."""
    budgets = [RateBudget(LIMITS, 0.0) for _ in range(members)]
    times: list[float] = []
    for budget in budgets:
        budget.shrink(1 / members, 0.0)
        times += drawn(budget, lane, Cost(command=True), 60.0)
    assert len(times) <= LIMITS.commands
