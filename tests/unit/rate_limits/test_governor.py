"""Who goes next, on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from breakwater.domain.rate_budget import Cost, Lack, Lane, Resource, VenueLimits
from breakwater.exchange.governor import Governor, PausedError
from breakwater.exchange.wire import Reply
from breakwater.runtime.ports import StoreUnavailable
from breakwater.runtime.rate_sharing import Granted
from breakwater.simulation.run import Simulation, run_virtual

START = datetime(2025, 10, 10, 20, 0, tzinfo=UTC)
ORDER = Cost(command=True, orders=1)
TOKEN_S = 1 / VenueLimits().refill_per_s


def virtually(main: Callable[[Simulation], Any]) -> Any:
    return run_virtual(main, seed=1, start=START)


def reply(status: int, body: str = "{}", **headers: str) -> Reply:
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


async def demand(governor: Governor, simulation: Simulation, lane: Lane, seconds: float, times: list[float]) -> None:
    """One after the other, as fast as they go."""
    clock = simulation.clocks.infra
    while clock.monotonic() < seconds:
        await governor.take(ORDER, lane)
        times.append(clock.monotonic())


def test_exit_under_a_full_queue_of_entries_goes_within_one_token() -> None:
    async def main(simulation: Simulation) -> None:
        governor, clock = Governor(simulation.clocks.infra), simulation.clocks.infra
        entries = [asyncio.ensure_future(demand(governor, simulation, Lane.ENTRIES, 30.0, [])) for _ in range(50)]
        await clock.sleep(10)
        worst = 0.0
        for _ in range(40):
            began = clock.monotonic()
            await governor.take(ORDER, Lane.EXITS)
            worst = max(worst, clock.monotonic() - began)
            await clock.sleep(0.3)
        assert worst < TOKEN_S
        for entry in entries:
            entry.cancel()
        await asyncio.gather(*entries, return_exceptions=True)

    virtually(main)


def test_requests_of_one_lane_go_in_their_order_and_lanes_by_rank() -> None:
    async def main(simulation: Simulation) -> None:
        governor = Governor(simulation.clocks.infra, limits=VenueLimits(commands=60, burst=4, reserve=1))
        gone: list[tuple[Lane, int]] = []

        async def ask(lane: Lane, number: int) -> None:
            await governor.take(Cost(command=True), lane)
            gone.append((lane, number))

        for _ in range(6):  # into debt, so that all that follow have to wait
            await governor.take(Cost(command=True), Lane.EXITS)
        asking = []
        for n in range(3):
            for lane in (Lane.QUERIES, Lane.ENTRIES):
                asking.append(asyncio.ensure_future(ask(lane, n)))
                await simulation.clocks.infra.sleep(0.001)
        await asyncio.gather(*asking)
        assert gone == [(lane, n) for lane in (Lane.ENTRIES, Lane.QUERIES) for n in range(3)]

    virtually(main)


def test_nothing_is_sent_while_the_venue_wants_to_be_left_alone_and_entries_wait_for_its_end() -> None:
    async def main(simulation: Simulation) -> None:
        governor, clock = Governor(simulation.clocks.infra), simulation.clocks.infra
        governor.note(reply(429, '{"code":-1003,"msg":"Too many requests."}', retry_after="17"))
        for lane in (Lane.EXITS, Lane.PROTECTION, Lane.QUERIES):
            with pytest.raises(PausedError, match="wants no request for another 17"):
                await governor.take(ORDER, lane)
        await governor.take(ORDER, Lane.ENTRIES)
        assert clock.monotonic() == pytest.approx(17, abs=0.01)
        await governor.take(ORDER, Lane.EXITS)

    virtually(main)


def test_ban_is_an_incident_that_refuses_entries_too_and_says_what_to_do() -> None:
    async def main(simulation: Simulation) -> None:
        governor, clock = Governor(simulation.clocks.infra), simulation.clocks.infra
        heard: list[str] = []
        governor.on_ban.append(lambda: heard.append(governor.ban()))
        governor.note(reply(418, '{"code":-1003,"msg":"Way too many requests."}', retry_after="120"))
        assert governor.bans == 1
        assert "shut this address out until 2025-10-10 20:02:00 UTC" in heard[0]
        with pytest.raises(PausedError, match="stop other programs"):
            await governor.take(ORDER, Lane.ENTRIES)
        await clock.sleep(120)
        assert governor.ban() == ""
        await governor.take(ORDER, Lane.ENTRIES)

    virtually(main)


def test_venue_that_is_busy_holds_entries_and_not_what_reduces() -> None:
    async def main(simulation: Simulation) -> None:
        governor, clock = Governor(simulation.clocks.infra), simulation.clocks.infra
        governor.note(reply(503, '{"code":-1008,"msg":"Server is currently overloaded."}'))
        await governor.take(ORDER, Lane.EXITS)
        assert clock.monotonic() == 0
        await governor.take(ORDER, Lane.ENTRIES)
        assert clock.monotonic() == pytest.approx(1, abs=0.01)

    virtually(main)


def test_used_weight_in_the_header_holds_queries_until_the_minute_is_over() -> None:
    async def main(simulation: Simulation) -> None:
        governor, clock = Governor(simulation.clocks.infra), simulation.clocks.infra
        await clock.sleep(57)
        governor.note(reply(200, x_mbx_used_weight_1m="2000"))
        await governor.take(Cost(weight=5), Lane.QUERIES)
        assert clock.monotonic() == pytest.approx(60, abs=0.01)

    virtually(main)


def test_query_that_would_wait_for_long_is_refused_so_that_its_owner_goes_on() -> None:
    async def main(simulation: Simulation) -> None:
        governor = Governor(simulation.clocks.infra)
        governor.note(reply(200, x_mbx_used_weight_1m="2000"))
        with pytest.raises(PausedError, match="limit on weight leaves no room for another 60"):
            await governor.take(Cost(weight=5), Lane.QUERIES)

    virtually(main)


def test_request_given_up_while_it_waits_takes_nothing_and_holds_up_nobody() -> None:
    async def main(simulation: Simulation) -> None:
        governor, clock = Governor(simulation.clocks.infra), simulation.clocks.infra
        for _ in range(60):
            await governor.take(ORDER, Lane.EXITS)
        waiting = [asyncio.ensure_future(governor.take(ORDER, Lane.ENTRIES)) for _ in range(3)]
        await clock.sleep(0.1)
        waiting[0].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        # In debt by 10, up to the reserve and one: 26 tokens for the first that goes, one more for the next.
        assert clock.monotonic() == pytest.approx(27 * TOKEN_S, abs=0.01)

    virtually(main)


class Sharing:
    """A shared budget that grants, refuses, hangs or is away, as told."""

    def __init__(self) -> None:
        self.lack: Lack | None = None
        self.pause_s = 0.0
        self.away = self.hangs = False
        self.asked = 0

    async def take(self, lane: Lane, cost: Cost) -> Granted:
        self.asked += 1
        if self.hangs:
            await asyncio.sleep(3600)
        if self.away:
            raise StoreUnavailable("gone")
        return Granted(self.lack, 3, 100, self.pause_s, banned=self.pause_s > 0)

    async def heard(self, weight: int, pause_s: float, *, banned: bool) -> None:
        if self.away:
            raise StoreUnavailable("gone")

    async def close(self) -> None: ...


def test_budget_that_others_have_used_up_is_waited_for() -> None:
    async def main(simulation: Simulation) -> None:
        clock, shared = simulation.clocks.infra, Sharing()
        governor = Governor(clock, shared=shared)
        shared.lack = Lack(Resource.COMMANDS, 2.0)
        waiting = asyncio.ensure_future(governor.take(ORDER, Lane.ENTRIES))
        await clock.sleep(1.9)
        assert not waiting.done()
        shared.lack = None
        await waiting
        assert clock.monotonic() == pytest.approx(2.0, abs=0.01)

    virtually(main)


def test_ban_of_another_process_holds_for_this_one() -> None:
    async def main(simulation: Simulation) -> None:
        shared = Sharing()
        governor = Governor(simulation.clocks.infra, shared=shared)
        shared.pause_s = 120.0
        with pytest.raises(PausedError, match="shut this address out"):
            await governor.take(ORDER, Lane.ENTRIES)

    virtually(main)


@pytest.mark.parametrize("trouble", ["away", "hangs"])
def test_exit_never_waits_for_a_shared_budget_that_does_not_answer(trouble: str) -> None:
    async def main(simulation: Simulation) -> None:
        clock, shared = simulation.clocks.infra, Sharing()
        governor = Governor(clock, shared=shared)
        setattr(shared, trouble, True)
        for _ in range(5):
            began = clock.monotonic()
            await governor.take(ORDER, Lane.EXITS)
            assert clock.monotonic() - began <= TOKEN_S

    virtually(main)


def test_process_alone_keeps_to_its_part_and_shares_again_when_it_can() -> None:
    async def main(simulation: Simulation) -> None:
        clock, shared = simulation.clocks.infra, Sharing()
        governor = Governor(clock, shared=shared)
        await governor.take(ORDER, Lane.ENTRIES)
        shared.away = True
        times: list[float] = []
        began = clock.monotonic()
        await demand(governor, simulation, Lane.ENTRIES, began + 60.0, times)
        assert len(times) <= 1200 / 3
        shared.away = False
        await clock.sleep(2)
        asked = shared.asked
        await governor.take(ORDER, Lane.ENTRIES)
        await governor.take(ORDER, Lane.EXITS)
        assert shared.asked == asked + 2

    virtually(main)
