"""What a benchmark is: a ratio against a peer or a limit measured in the same run, never a bare time."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


class NotMeasured(Exception):
    """Something to be measured against is not to be had here; the text says what and why."""


@dataclass(frozen=True)
class Metric:
    """``value`` of a metric is a ratio. Below the floor something is wrong; the aim is where we want to be."""

    name: str
    floor: float
    aim: float
    better: str
    against: str

    def verdict(self, value: float) -> str:
        def reached(mark: float) -> bool:
            return value >= mark if self.better == "higher" else value <= mark

        return "aim" if reached(self.aim) else "floor" if reached(self.floor) else "BELOW FLOOR"


@dataclass(frozen=True)
class Bench:
    """``measure`` makes one interleaved run of ours and the peer's and returns a ratio for each metric, by name.

    A string it returns under ``against`` says with what exactly it was compared, in place of the metrics' own text.
    """

    metrics: tuple[Metric, ...]
    measure: Callable[[], Mapping[str, float | str]]
    runs: int = 5

    def results(self) -> list[dict[str, object]]:
        """Median of ``runs`` runs, as entries of bench.json. What could not be measured has no value, and says why."""
        try:
            taken = [self.measure() for _ in range(self.runs)]
        except NotMeasured as why:
            return [self._result(metric, None, 0) | {"not_measured": str(why)} for metric in self.metrics]
        results = []
        for metric in self.metrics:
            median = statistics.median(float(run[metric.name]) for run in taken)
            result = self._result(metric, round(median, 4), self.runs)
            results.append(result | {"against": taken[-1].get("against", metric.against)})
        return results

    @staticmethod
    def _result(metric: Metric, value: float | None, runs: int) -> dict[str, object]:
        return {
            "name": metric.name,
            "value": value,
            "floor": metric.floor,
            "aim": metric.aim,
            "better": metric.better,
            "against": metric.against,
            "runs": runs,
        }


def lower(name: str, floor: float, aim: float, against: str) -> Metric:
    return Metric(name, floor, aim, "lower", against)


def higher(name: str, floor: float, aim: float, against: str) -> Metric:
    return Metric(name, floor, aim, "higher", against)


def quantile(samples: list[float], share: float) -> float:
    """The sample below which ``share`` of them lie."""
    return sorted(samples)[min(len(samples) - 1, int(len(samples) * share))]


def undisturbed(blocks: list[list[float]], share: float) -> float:
    """``quantile`` of each block; over blocks the lower quartile, which are those that nothing else on the machine came between."""
    return quantile([quantile(block, share) for block in blocks], 0.25)


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def loop_hops(count: int) -> list[float]:
    """Seconds from ``call_soon`` on an idle asyncio loop until the callback runs, ``count`` times."""

    async def hop() -> list[float]:
        loop = asyncio.get_running_loop()
        taken = []
        for _ in range(count):
            arrived: asyncio.Future[float] = loop.create_future()
            began = time.perf_counter()
            loop.call_soon(lambda arrived=arrived: arrived.set_result(time.perf_counter()))  # type: ignore[misc]
            taken.append(await arrived - began)
        return taken

    return asyncio.run(hop())


def rss_kib(pid: int) -> int:
    """Resident memory of a process and its children, KiB (Linux)."""
    total = 0
    with open(f"/proc/{pid}/status") as status:
        total += next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as children:
            total += sum(rss_kib(int(child)) for child in children.read().split())
    return total
