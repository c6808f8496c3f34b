"""What each source says and when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from breakwater.ai_engine.service import AiEngine
from breakwater.ai_engine.source import SignalSource
from breakwater.ai_engine.sources.jsonl import JsonlSource, SignalFileError, read_from
from breakwater.ai_engine.sources.long import LongSource
from breakwater.ai_engine.sources.momentum import MomentumSource
from breakwater.domain.ids import Symbol
from breakwater.domain.policy import PolicySpec
from breakwater.domain.signals import DataKind, Direction

Stage = Any
OnStage = Callable[[Callable[[Stage], Awaitable[None]]], None]
BTC, ETH = Symbol("BTCUSDT"), Symbol("ETHUSDT")
D = Decimal
RISING = [100 + i * 0.1 for i in range(100)]
FALLING = [100 - i * 0.1 for i in range(100)]


def test_long_source_asks_for_every_flat_symbol_with_the_drill_terms(on_stage: OnStage) -> None:
    async def play(stage: Stage) -> None:
        await stage.start(LongSource())
        await stage.snapshot()
        assert [signal.symbol for signal in stage.signals] == [BTC, ETH]
        signal = stage.signals[0]
        assert (signal.direction, signal.confidence) == (Direction.LONG, D("0.75"))
        assert (signal.stop_pct, signal.target_pct) == (D(2), None)
        assert (signal.provenance.source, signal.provenance.data) == ("heuristic:long", DataKind.REPLAY)

    on_stage(play)


def test_long_source_asks_again_only_when_the_last_signal_expired(on_stage: OnStage) -> None:
    async def play(stage: Stage) -> None:
        await stage.start(LongSource())
        stage.policy.spec = PolicySpec((BTC,))
        await stage.snapshot()
        await stage.wait(30)
        await stage.snapshot()
        assert len(stage.signals) == 1
        await stage.wait(31)
        await stage.snapshot()
        assert len(stage.signals) == 2
        assert stage.signals[0].signal_id != stage.signals[1].signal_id

    on_stage(play)


def test_long_source_waits_five_minutes_after_a_stop_out(on_stage: OnStage) -> None:
    async def play(stage: Stage) -> None:
        await stage.start(LongSource())
        stage.policy.spec = PolicySpec((BTC,))
        await stage.snapshot()
        await stage.snapshot(BTC)
        await stage.wait(600)
        await stage.stopped_out(BTC)
        stopped = stage.now
        while stage.now < stopped + timedelta(seconds=299):
            await stage.snapshot()
            await stage.wait(5)
        assert len(stage.signals) == 1
        await stage.wait(10)
        await stage.snapshot()
        assert len(stage.signals) == 2

    on_stage(play)


def test_long_source_is_silent_for_good_after_the_first_trip(on_stage: OnStage) -> None:
    async def play(stage: Stage) -> None:
        await stage.start(LongSource())
        await stage.trip()
        await stage.snapshot()
        assert stage.signals == []
        await stage.stop()
        await stage.start(LongSource())
        await stage.snapshot()
        assert stage.signals == []

    on_stage(play)


def test_any_source_is_silent_after_a_trip_when_the_drill_says_so(on_stage: OnStage) -> None:
    async def play(stage: Stage) -> None:
        await stage.start(MomentumSource(), end_at_first_trip=True)
        await stage.trip()
        await stage.candles(RISING, backfilled=True)
        await stage.mark("110")
        assert stage.signals == []

    on_stage(play)


@pytest.mark.parametrize(("closes", "direction"), [(RISING, Direction.LONG), (FALLING, Direction.SHORT)])
def test_momentum_goes_with_the_trend_at_the_first_price_after_history(
    on_stage: OnStage, closes: list[float], direction: Direction
) -> None:
    async def play(stage: Stage) -> None:
        await stage.start(MomentumSource())
        await stage.candles(closes, backfilled=True)
        assert stage.signals == []
        await stage.mark(str(closes[-1]))
        await stage.mark(str(closes[-1]))
        [signal] = stage.signals
        assert signal.direction is direction
        assert D("0.5") <= signal.confidence <= D("0.65")
        assert D("0.8") <= signal.stop_pct <= D(4)
        assert signal.target_pct == 2 * signal.stop_pct
        assert signal.provenance.models == ()
        assert signal.provenance.source == "heuristic:momentum"

    on_stage(play)


def test_momentum_speaks_once_per_closed_candle_and_not_while_a_position_is_open(on_stage: OnStage) -> None:
    async def play(stage: Stage) -> None:
        await stage.start(MomentumSource())
        await stage.candles(RISING, backfilled=True)
        await stage.mark("110")
        await stage.wait(300)
        await stage.candles([111], backfilled=False)
        await stage.mark("111")
        assert len(stage.signals) == 2
        await stage.snapshot(BTC)
        await stage.wait(300)
        await stage.candles([112], backfilled=False)
        assert len(stage.signals) == 2

    on_stage(play)


@pytest.mark.parametrize("closes", [[100.0] * 100, RISING[:50]], ids=["flat market", "little history"])
def test_momentum_has_no_opinion_without_a_trend_or_enough_history(on_stage: OnStage, closes: list[float]) -> None:
    async def play(stage: Stage) -> None:
        await stage.start(MomentumSource())
        await stage.candles(closes, backfilled=True)
        await stage.mark("100")
        assert stage.signals == []

    on_stage(play)


def test_momentum_ignores_history_that_ended_long_ago(on_stage: OnStage) -> None:
    async def play(stage: Stage) -> None:
        await stage.start(MomentumSource())
        await stage.candles(RISING, backfilled=True)
        await stage.wait(3600)
        await stage.mark("110")
        assert stage.signals == []

    on_stage(play)


LINE = '{"time":"2025-10-10T20:%s:00Z","symbol":"BTCUSDT","direction":"LONG","confidence":0.7,"stop_pct":1.5%s}\n'


def test_jsonl_signals_are_sent_at_their_market_time_in_order(on_stage: OnStage, tmp_path: Path) -> None:
    file = tmp_path / "signals.jsonl"
    file.write_text(LINE % ("10", ',"id":"late"') + LINE % ("05", ',"id":"early"') + (LINE % ("15", "")).rstrip("\n"))

    async def play(stage: Stage) -> None:
        await stage.start(JsonlSource(str(file), read_from(str(file)), stage.clocks.infra))
        await stage.wait(3600)
        assert [f"{signal.time:%M}" for signal in stage.signals] == ["05", "10", "15"]
        assert stage.signals[0].signal_id == "file:signals.jsonl:BTCUSDT:LONG:20251010T200500.000000Z:early"
        assert stage.signals[0].confidence == D("0.7")
        published = [event.time for event in stage.broker.stream("desk-a", "ai_engine")]
        assert published == [signal.time for signal in stage.signals]

    on_stage(play)


def test_jsonl_bad_lines_are_named_and_the_others_go_on(on_stage: OnStage, tmp_path: Path) -> None:
    file = tmp_path / "signals.jsonl"
    file.write_text(
        "not json\n"
        + LINE % ("01", "")
        + "\n"
        + (LINE % ("02", "")).replace("LONG", "UP")
        + LINE % ("03", ',"stop":1')
        + LINE % ("04", "")
        + '{"symbol":"BTCUSDT","direction":"LONG","confidence":0.7,"stop_pct":1.5}\n'
    )

    async def play(stage: Stage) -> None:
        source = JsonlSource(str(file), read_from(str(file)), stage.clocks.infra)
        engine: AiEngine = await stage.start(source)
        await stage.wait(3600)
        assert [f"{signal.time:%M}" for signal in stage.signals] == ["01", "04"]
        assert source.bad_lines == 4
        assert f"{file} line 1" in source.problems[0]
        assert "line 4: direction" in source.problems[1]
        assert "LONG or SHORT" in source.problems[1]
        assert "line 5: stop: is not a field" in source.problems[2]
        assert "line 7: time" in source.problems[3]
        assert not engine.readiness()["file:signals.jsonl"].ok

    on_stage(play)


def test_jsonl_signals_that_were_over_before_the_start_are_counted_not_sent(on_stage: OnStage, tmp_path: Path) -> None:
    file = tmp_path / "signals.jsonl"
    file.write_text((LINE % ("05", "")).replace("T20", "T19") + LINE % ("05", ""))

    async def play(stage: Stage) -> None:
        source = JsonlSource(str(file), read_from(str(file)), stage.clocks.infra)
        await stage.start(source)
        await stage.wait(600)
        assert (len(stage.signals), source.late) == (1, 1)

    on_stage(play)


def test_jsonl_followed_file_takes_lines_as_they_are_appended(on_stage: OnStage, tmp_path: Path) -> None:
    file = tmp_path / "signals.jsonl"
    file.write_text(LINE % ("30", ""))

    async def play(stage: Stage) -> None:
        await stage.start(JsonlSource(str(file), read_from(str(file)), stage.clocks.infra, follow=True))
        await stage.wait(30)
        with file.open("a") as out:
            half = len(LINE) // 2
            out.write((LINE % ("05", ""))[:half])
            out.flush()
            await stage.wait(5)
            out.write((LINE % ("05", ""))[half:])
        await stage.wait(300)
        assert [f"{signal.time:%M}" for signal in stage.signals] == ["05"]
        await stage.wait(1500)
        assert [f"{signal.time:%M}" for signal in stage.signals] == ["05", "30"]
        await stage.stop()

    on_stage(play)


def test_jsonl_missing_file_is_refused_with_the_path(on_stage: OnStage, tmp_path: Path) -> None:
    path = str(tmp_path / "none.jsonl")

    async def play(stage: Stage) -> None:
        with pytest.raises(SignalFileError, match=r"none\.jsonl cannot be read"):
            JsonlSource(path, read_from(path), stage.clocks.infra)

    on_stage(play)


def test_source_that_raises_is_reported_and_stops_nobody_else(on_stage: OnStage) -> None:
    class Broken(SignalSource):
        name = "heuristic:broken"

        def on_snapshot(self, snapshot: Any, now: Any) -> Any:
            raise RuntimeError("planted")

    async def play(stage: Stage) -> None:
        engine = await stage.start(Broken(), LongSource())
        await stage.snapshot()
        assert len(stage.signals) == 2
        assert "planted" in engine.readiness()["heuristic:broken"].detail

    on_stage(play)


def test_history_handed_in_is_heard_before_any_market_event(on_stage: OnStage) -> None:
    async def play(stage: Stage) -> None:
        heard: list[Symbol] = []

        async def history(symbol: Symbol) -> list[Any]:
            heard.append(symbol)
            return []

        await stage.start(MomentumSource(), history=history)
        assert heard == [BTC, ETH]

    on_stage(play)


def test_policy_that_comes_after_the_start_gets_its_symbols_history(on_stage: OnStage) -> None:
    async def play(stage: Stage) -> None:
        asked: list[Symbol] = []

        async def history(symbol: Symbol) -> list[Any]:
            asked.append(symbol)
            return []

        known, stage.policy.spec = stage.policy.spec, None
        await stage.start(MomentumSource(), history=history)
        assert asked == []
        stage.policy.spec = PolicySpec((BTC,))
        await stage.mark("100")
        assert asked == [BTC]
        stage.policy.spec = known
        await stage.mark("100")
        await stage.mark("100")
        assert asked == [BTC, ETH]

    on_stage(play)


def test_candle_that_closes_while_history_loads_comes_after_it(on_stage: OnStage) -> None:
    async def play(stage: Stage) -> None:
        loaded = asyncio.Event()
        past = stage.made(RISING, stage.now)
        await stage.wait(300)

        async def history(symbol: Symbol) -> list[Any]:
            await loaded.wait()
            return past if symbol == BTC else []

        await stage.start(MomentumSource(), history=history)
        await stage.candles([RISING[-1] + 1], backfilled=False)
        assert stage.signals == []
        loaded.set()
        await stage.settle()
        [signal] = stage.signals  # of the closed candle, on all that came before it
        assert signal.direction is Direction.LONG

    on_stage(play)


def test_bus_away_loses_the_opinion_but_not_the_engine(on_stage: OnStage) -> None:
    async def play(stage: Stage) -> None:
        source = LongSource()
        engine = await stage.start(source)
        stage.broker.up = False
        await engine._emit(source, next(iter(source.on_snapshot(_flat(stage), stage.now))))
        stage.broker.up = True
        assert (engine.unpublished, stage.signals) == (1, [])
        assert engine.readiness()["tasks"].ok

    on_stage(play)


def _flat(stage: Stage) -> Any:
    class Flat:
        positions = ()
        time = stage.now

    return Flat()


def test_two_sources_of_one_name_are_refused(on_stage: OnStage) -> None:
    async def play(stage: Stage) -> None:
        with pytest.raises(ValueError, match="same name"):
            await stage.start(LongSource(), LongSource())

    on_stage(play)
