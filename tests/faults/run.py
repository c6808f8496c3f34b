"""One run: real server, publisher and consumer; a nemesis that follows the plan; then all faults end, and the judge looks."""

from __future__ import annotations

import asyncio
import collections
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis.asyncio as redis_async
from tests.faults import children, ledger
from tests.faults.judge import Verdict, judge
from tests.faults.ledger import Kind
from tests.faults.machinery import Child, Server, Zygote
from tests.faults.plan import OUTAGE_EVENTS, PUBLISHING_SECONDS, Action, Do, Network, Plan
from tests.faults.proxy import Link

from breakwater.runtime.redis_client import key_of

DISK_BYTES = 48 << 20
PATIENCE = 12
"""Seconds without any progress after which what was waited for will not come. A busy machine is slow, but goes on."""


@dataclass
class Outcome:
    plan: Plan
    server: str
    verdict: Verdict
    happened: collections.Counter[str]
    seconds: float
    kept: str = ""
    """Where the files of a wrong run are."""
    ends: dict[str, dict[int, int]] = field(default_factory=dict)


class Patience:
    """Spent when ``progress`` has stayed the same for so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._progress = -1
        self._since = time.monotonic()

    def spent(self, progress: int) -> bool:
        if progress != self._progress:
            self._progress, self._since = progress, time.monotonic()
        return time.monotonic() - self._since > self._seconds


class Run:
    def __init__(
        self, plan: Plan, server: tuple[str, Path], zygote: Zygote, plant: str, events: int, patience: float
    ) -> None:
        self.plan = plan
        self.happened: collections.Counter[str] = collections.Counter()
        self._zygote = zygote
        self._plant = plant
        self._events = events
        self._patience = patience
        self._server_name, binary = server
        self._rng = random.Random(f"run {plan.seed}/{plan.index}")
        self._root = Path(tempfile.mkdtemp(prefix="bwf-"))
        self._disk = self._root / "disk"
        self._disk.mkdir()
        self._server = Server(binary, self._root / "v", may_lose=plan.may_lose)
        self._links = {name: Link(self._root / name[0], self._server.socket, self._rng) for name in children.ROLES}
        for name in children.ROLES:
            ledger.create(self._root / name)
        self._published = ledger.Tail(self._root / "publisher")
        self._consumed = ledger.Tail(self._root / "consumer")
        self._target = int(PUBLISHING_SECONDS * plan.awaiters / plan.pause)
        self._burst = self._told = False
        self._away = 0
        self._limited = False
        self._publisher = Child(zygote, "publisher", self._root / "publisher.log", self._publisher_arguments)
        self._consumer = Child(zygote, "consumer", self._root / "consumer.log", lambda: self._common("consumer"))

    async def run(self) -> Outcome:
        began = time.monotonic()
        tasks: list[asyncio.Task[Any]] = []
        wrong = ""
        try:
            if self.plan.disk:
                await self._make_disk()
            await self._server.start()
            for link in self._links.values():
                await link.start()
            self._break_links()
            tasks = [
                asyncio.ensure_future(work) for work in (self._publisher.run(), self._consumer.run(), self._watch())
            ]
            while not self._published.more():
                await self._alive(tasks, 0.01)
            try:
                await self._nemesis()
                self._heal()
                await self._until_well(tasks)
            except TimeoutError as error:
                wrong = str(error)
            await asyncio.sleep(0.05)  # what comes twice may come now
            held = await self._what_the_server_holds()
            await self._publisher.stop()
            await self._consumer.stop()
            verdict = judge(self._published.more(), self._consumed.more(), self._server.outages)
            verdict.other += held
            if wrong:
                verdict.other.append(wrong)
            return self._outcome(verdict, time.monotonic() - began)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for child in (self._publisher, self._consumer):
                child.signal(signal.SIGKILL)
            for link in self._links.values():
                await link.stop()
            await self._server.kill()

    def _outcome(self, verdict: Verdict, seconds: float) -> Outcome:
        ours = {
            -signal.SIGKILL,
            -signal.SIGTERM,
            -signal.SIGUSR1,
            -signal.SIGUSR2,
        }  # may come before it can hear them, or meet
        allowed = {children.FAILED, children.NO_START, *ours}
        ends = {"publisher": dict(self._publisher.ends), "consumer": dict(self._consumer.ends)}
        for name, codes in ends.items():
            verdict.other += [
                f"the {name} ended with {code}, {n} times" for code, n in codes.items() if code not in allowed
            ]
        for link in self._links.values():
            self.happened += link.happened
        self.happened["repeated after a crash"] += verdict.repeated_after_crash
        self.happened["events unknown to their publisher"] += verdict.unknown
        self.happened["events refused"] += verdict.refused
        kept = ""
        if verdict.right:
            shutil.rmtree(self._root, ignore_errors=True)
        else:
            kept = str(self._root)
        return Outcome(self.plan, self._server_name, verdict, self.happened, seconds, kept, ends)

    def _common(self, name: str) -> dict[str, Any]:
        return {
            "url": f"unix://{self._links[name].path}",
            "ledger": str(self._root / name),
            "plant": self._plant,
        }

    def _publisher_arguments(self) -> dict[str, Any]:
        begun = [record.number for record in self._published.more() if record.kind is Kind.BEGUN]
        return self._common("publisher") | {
            "disk": str(self._disk),
            "durable": self.plan.durable,
            "first": max(begun, default=0) + 1,
            "target": 0 if self._told else self._target,
            "told": self._told,
            "burst": self._burst,
            "burst_events": self._events,
            "body": self.plan.body,
            "pause": self.plan.pause,
            "awaiters": self.plan.awaiters,
        }

    async def _make_disk(self) -> None:
        answer = await self._zygote.ask("mount", path=str(self._disk), size=DISK_BYTES)
        self._limited = not answer["kind"]
        if self._limited:
            self._publisher.log = Path(os.devnull)  # a log would meet the limit as well

    def _break_links(self) -> None:
        for link in self._links.values():
            link.drop_rate = self.plan.drop_rate
            link.delay = 0.01 if self.plan.network is Network.SLOW else 0.0
            link.slices = self.plan.network is Network.SLICED

    async def _watch(self) -> None:
        while True:
            self._server.note_size()
            await asyncio.sleep(0.03)

    async def _alive(self, tasks: Sequence[asyncio.Task[Any]], seconds: float) -> None:
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
            raise RuntimeError("a part of the run ended before its time")

    async def _nemesis(self) -> None:
        began = time.monotonic()

        async def follow(actions: Sequence[Action], act: Any) -> None:
            for action in actions:
                await asyncio.sleep(max(0.0, began + action.at - time.monotonic()))
                await act(action)

        plan = self.plan
        await asyncio.gather(
            follow(plan.server, self._hurt_server),
            follow(plan.publisher, lambda action: self._hurt(self._publisher, "publisher", action)),
            follow(plan.consumer, lambda action: self._hurt(self._consumer, "consumer", action)),
            follow(plan.links, self._hurt_link),
            follow(plan.disk, self._fill_disk),
            asyncio.sleep(PUBLISHING_SECONDS),
        )

    async def _hurt_server(self, action: Action) -> None:
        self.happened[f"server {action.do}"] += 1
        match action.do:
            case Do.PAUSE:
                self._server.signal(signal.SIGSTOP)
                await asyncio.sleep(action.seconds)
                self._server.signal(signal.SIGCONT)
                return
            case Do.RESTART:
                await self._server.kill(signal.SIGTERM)
            case Do.KILL_BOTH:
                await asyncio.gather(self._server.kill(), self._publisher.end(signal.SIGKILL, 0))
            case _:
                await self._server.kill()
        if action.do in (Do.CUT, Do.KILL_BOTH):
            cut = self._server.cut_tail(self._rng)
            self.happened["server lost its tail"] += cut > 0
        if action.do is Do.OUTAGE:
            await self._outage()
        await asyncio.sleep(action.seconds)
        await self._server.start()

    async def _outage(self) -> None:
        """The server is away: have some thousand events published, until they are settled."""
        before = len(self._published.more())
        wanted = self._target + self._events
        self._target, self._burst = wanted, True
        self._publisher.signal(signal.SIGUSR1)
        patience = Patience(self._patience)
        while not patience.spent(len(self._published.records)):
            await asyncio.sleep(0.03)
            if any(
                record.kind is Kind.FINISHED and record.number >= wanted for record in self._published.more()[before:]
            ):
                break
        kept = sum(record.kind is Kind.ACKNOWLEDGED for record in self._published.more()[before:])
        self.happened["events kept while the server was away"] += kept
        self.happened["outages of all events"] += kept >= self._events

    async def _hurt(self, child: Child, name: str, action: Action) -> None:
        self.happened[f"{name} {action.do}"] += 1
        match action.do:
            case Do.PAUSE:
                child.signal(signal.SIGSTOP)
                await asyncio.sleep(action.seconds)
                child.signal(signal.SIGCONT)
            case Do.RESTART:
                await child.end(signal.SIGTERM, action.seconds)
            case _:
                await child.end(signal.SIGKILL, action.seconds)

    async def _hurt_link(self, action: Action) -> None:
        link = self._rng.choice(list(self._links.values()))
        if action.do is Do.RESET:
            link.reset()
            return
        link.blackhole()
        await asyncio.sleep(action.seconds)
        link.end_blackhole()

    async def _fill_disk(self, action: Action) -> None:
        if self._limited:
            self._publisher.limit(0)
            self.happened["disk full (file size limit)"] += 1
            await asyncio.sleep(action.seconds)
            self._publisher.limit(-1)
            return
        ballast = str(self._disk / "ballast")
        answer = await self._zygote.ask("fill", path=ballast)
        self.happened["disk full (tmpfs)"] += answer["filled"] > 0
        await asyncio.sleep(action.seconds)
        await self._zygote.ask("free", path=ballast)

    def _heal(self) -> None:
        for link in self._links.values():
            link.heal()
        self._told = True
        self._publisher.signal(signal.SIGUSR2)

    async def _until_well(self, tasks: Sequence[asyncio.Task[Any]]) -> None:
        """Everything published, applied and acknowledged. Raises TimeoutError that says what is not."""
        patience = Patience(self._patience)
        well = 0
        # With the disk first, "published" does not say that Redis has it: what it lost may be on its way to it again.
        while well < (4 if self.plan.durable else 1):
            why = await self._not_yet()
            well = 0 if why else well + 1
            if why and patience.spent(len(self._published.records) + len(self._consumed.records)):
                raise TimeoutError(f"the faults ended, and nothing moves any more: {why}")
            await self._alive(tasks, 0.05)

    async def _not_yet(self) -> str:
        published = self._published.more()
        last = published[-1]
        if last.kind is not Kind.FINISHED or last.incarnation != self._publisher.lives - 1:
            return "the publisher has not finished"
        if not last.epoch:
            self._publisher.signal(signal.SIGUSR2)  # it was just being started when it was told
            return "the publisher has finished, and does not know that no more will come"
        applied = {record.number for record in self._consumed.more() if record.kind is Kind.APPLIED}
        missing = {record.number for record in published if record.kind is Kind.ACKNOWLEDGED} - applied
        if missing:
            return f"{len(missing)} acknowledged events are not applied"
        return "; ".join(await self._what_the_server_holds())

    async def _what_the_server_holds(self) -> list[str]:
        """What the server says that it should not say in the end."""
        client = redis_async.Redis(unix_socket_path=str(self._server.socket), decode_responses=True)
        stream = key_of(children.DESK, children.PRODUCER)
        try:
            groups: Any = await client.xinfo_groups(stream)
            dead = await client.xlen(key_of(children.DESK, "dead"))
            newest: Any = await client.xrevrange(stream, count=1)
        except redis_async.RedisError as error:
            return [f"the server does not say: {error}"]
        finally:
            await client.aclose()
        found = []
        for group in groups:
            if group["pending"]:
                found.append(f"{group['pending']} entries are not acknowledged by {group['name']}")
            if newest and _id(group["last-delivered-id"]) < _id(newest[0][0]):
                found.append(f"{group['name']} was given entries up to {group['last-delivered-id']} only")
        if dead:
            found.append(f"{dead} dead letters")
        return found


def _id(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("-"))


async def once(
    plan: Plan,
    server: tuple[str, Path],
    zygote: Zygote,
    *,
    plant: str = "",
    events: int = OUTAGE_EVENTS,
    patience: float = PATIENCE,
) -> Outcome:
    """Do it. ``events`` are published in an outage; ``plant`` names a bug of planted.py."""
    return await Run(plan, server, zygote, plant, events, patience).run()
