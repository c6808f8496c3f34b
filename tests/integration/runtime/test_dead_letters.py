"""Dead letters on a real server: set aside once, given back once, never trimmed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from breakwater.runtime import redis_readers
from breakwater.runtime.dead_letters import DeadLetters, LetterUnknown
from breakwater.runtime.events import MOST_EVENT_BYTES
from breakwater.runtime.redis_client import RedisClient

from .conftest import DESK, Recorder

AT = datetime(2025, 10, 10, 21, tzinfo=UTC)


def fail_on(*bad: int) -> Any:
    def fail(number: int) -> None:
        if number in bad:
            raise ValueError("cannot apply this")

    return fail


async def test_requeued_event_reaches_its_group_once_with_its_own_id_and_time(
    make_bus: Any, client: RedisClient, publish: Any, recorder: Recorder, eventually: Any
) -> None:
    other = Recorder()
    recorder.fail = fail_on(1)
    await make_bus("reader", reads="writer", group="reader", handler=recorder)
    await make_bus("other", reads="writer", group="other", handler=other)
    writer = await make_bus("writer")
    sent = [await publish(writer, number) for number in range(3)]
    await eventually(lambda: recorder.numbers == [0, 2] and other.numbers == [0, 1, 2])
    letters = DeadLetters(client, DESK)
    (letter,) = await letters.oldest(10)
    assert (letter.group, letter.attempts, letter.stream_id) == ("reader", 5, f"{sent[1].epoch}-{sent[1].sequence}")
    recorder.fail = fail_on()
    assert await letters.requeue(letter, AT) == ""
    assert await letters.requeue(letter, AT) == f"requeued at {AT.isoformat()}"
    await eventually(lambda: recorder.numbers == [0, 2, 1])
    assert recorder.events[2] == sent[1]
    assert other.numbers == [0, 1, 2]
    assert await letters.count() == 0
    await publish(writer, 3)
    await eventually(lambda: recorder.numbers == [0, 2, 1, 3])
    assert await client.run("XLEN", "bw:{test}:retry:reader") == 0


async def test_requeued_while_the_component_is_away_waits_for_it_and_failing_again_adds_up(
    make_bus: Any, client: RedisClient, publish: Any, recorder: Recorder, eventually: Any
) -> None:
    recorder.fail = fail_on(1)
    reader = await make_bus("reader", reads="writer", group="reader", handler=recorder)
    await publish(await make_bus("writer"), 1)
    await eventually(lambda: reader.counters.letters_kept == 1)
    await reader.stop()
    letters = DeadLetters(client, DESK)
    (letter,) = await letters.oldest(10)
    await letters.requeue(letter, AT)
    again = await make_bus("reader", reads="writer", group="reader", handler=recorder)
    await eventually(lambda: again.counters.letters_kept == 1)
    (second,) = await letters.oldest(10)
    assert second.attempts == 10
    assert second.stream_id == letter.stream_id


async def test_dropped_letter_is_gone_for_good_and_asking_again_says_why(
    make_bus: Any, client: RedisClient, publish: Any, recorder: Recorder, eventually: Any
) -> None:
    recorder.fail = fail_on(1)
    reader = await make_bus("reader", reads="writer", group="reader", handler=recorder)
    await publish(await make_bus("writer"), 1)
    await eventually(lambda: reader.counters.letters_kept == 1)
    letters = DeadLetters(client, DESK)
    (letter,) = await letters.oldest(10)
    assert await letters.drop(letter, AT, "a test") == ""
    assert await letters.requeue(letter, AT) == f"dropped at {AT.isoformat()}: a test"
    with pytest.raises(LetterUnknown, match="a test"):
        await letters.get(letter.id)
    assert recorder.numbers == []


async def test_when_no_more_letters_fit_the_failing_event_waits_and_none_is_lost(
    make_bus: Any, client: RedisClient, publish: Any, recorder: Recorder, eventually: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(redis_readers, "MOST", 1)
    recorder.fail = fail_on(1, 2)
    reader = await make_bus("reader", reads="writer", group="reader", handler=recorder)
    writer = await make_bus("writer")
    for number in range(4):
        await publish(writer, number)
    await eventually(lambda: reader.counters.handler_failures["market.candle"] == 10)
    await eventually(lambda: reader.counters.letters_full)
    assert recorder.numbers == [0]
    letters = DeadLetters(client, DESK)
    (letter,) = await letters.oldest(10)
    await letters.drop(letter, AT, "seen")
    await eventually(lambda: recorder.numbers == [0, 3])
    assert [each.stream_id.rpartition("-")[2] for each in await letters.oldest(10)] == ["3"]


async def test_event_that_is_too_large_is_set_aside_and_the_next_one_arrives(
    make_bus: Any, client: RedisClient, publish: Any, recorder: Recorder, eventually: Any
) -> None:
    await client.run("XADD", "bw:{test}:writer", "1-1", "e", b"x" * (MOST_EVENT_BYTES + 1))
    await make_bus("reader", reads="writer", group="reader", handler=recorder)
    await publish(await make_bus("writer"), 7)
    await eventually(lambda: recorder.numbers == [7])
    (letter,) = await DeadLetters(client, DESK).oldest(10)
    assert f"at most {MOST_EVENT_BYTES}" in letter.reason
    assert letter.attempts == 0
