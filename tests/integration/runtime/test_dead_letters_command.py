"""``breakwater dead-letters`` on a server that runs, and on a desk that is stopped."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from breakwater.cli.main import main
from breakwater.runtime.clocks import WallInfraClock
from breakwater.runtime.events import CandleClosed
from breakwater.runtime.redis_bus import RedisBus
from breakwater.runtime.valkey_server import EmbeddedServer

from .conftest import DESK


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """The command sets up logging for its own process, onto a stream that ends with the test."""
    handlers = list(logging.getLogger().handlers)
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["dead-letters", *words])
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out or shown.err


async def set_one_aside(root: Path, publish: Any, eventually: Any) -> None:
    async def refuse(event: Any) -> None:
        raise ValueError("cannot apply this")

    server = EmbeddedServer(root / "valkey")
    await server.start()
    bus = RedisBus(server.url, DESK, "writer", WallInfraClock())
    bus.subscribe(refuse, producers=["writer"], types=[CandleClosed], group="reader")
    await bus.start()
    await publish(bus, 1)
    await eventually(lambda: bus.counters.letters_kept == 1)
    await bus.stop()
    await server.stop()


def test_letters_of_a_stopped_desk_are_listed_requeued_once_and_remembered(
    tmp_path: Path, publish: Any, eventually: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(set_one_aside(tmp_path, publish, eventually))
    capsys.readouterr()
    where = ("--state-dir", str(tmp_path), "--desk", DESK)
    code, text = run(capsys, "list", "--json", *where)
    (letter,) = json.loads(text)["letters"]
    assert code == 0
    assert (letter["group"], letter["type"], letter["attempts"]) == ("reader", "market.candle", 5)
    code, text = run(capsys, "show", letter["id"], "--json", *where)
    assert json.loads(text)["data"]["payload"]["symbol"] == "BTCUSDT"
    code, text = run(capsys, "requeue", letter["id"], *where)
    assert (code, "requeued" in text) == (0, True)
    code, text = run(capsys, "requeue", letter["id"], *where)
    assert (code, "was requeued at" in text) == (3, True)
    code, text = run(capsys, "drop", letter["id"], "--reason", "late", *where)
    assert (code, "was requeued at" in text) == (3, True)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("list",), "There is no embedded Redis"),
        (("requeue",), "Name one dead letter, or --all"),
        (("show", "nonsense", "--redis-url", "redis://localhost"), "is no id of a dead letter"),
        (("list", "--redis-url", "redis+sentinel://a:geheim@b"), "name the master"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(
    tmp_path: Path, words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = run(capsys, *words, "--state-dir", str(tmp_path))
    assert code == 2
    assert says in text
    assert "geheim" not in text
