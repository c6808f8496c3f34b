"""``breakwater dead-letters``: events a component could not handle. Look at them, send them again, or drop them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
import typer

from breakwater.cli.errors import CliError, Exit
from breakwater.cli.options import AsJson, Reason, StateDir, checked_reason, state_dir
from breakwater.cli.output import console, print_json, row, say, table
from breakwater.runtime.unreadable import UNREADABLE

if TYPE_CHECKING:
    from breakwater.runtime.dead_letters import DeadLetter, DeadLetters

app = typer.Typer(no_args_is_help=True, help="Events that a component could not handle.", rich_markup_mode=None)

T = TypeVar("T")

RedisUrl = Annotated[
    str | None,
    typer.Option(
        "--redis-url", envvar="REDIS_URL", show_envvar=True, help="The desk's Redis, when it is not embedded."
    ),
]
DeskName = Annotated[str, typer.Option("--desk", envvar="BREAKWATER_DESK", show_envvar=True, help="Name of the desk.")]
LetterId = Annotated[str, typer.Argument(help="As `breakwater dead-letters list` prints it.")]
OfGroup = Annotated[str | None, typer.Option("--group", help="Only those of this component.")]


@app.callback()
def dead_letters() -> None:
    """Events that a component could not handle."""


@app.command("list", epilog="Example: breakwater dead-letters list --limit 20")
def list_letters(
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many, the oldest first.")] = 100,
    group: OfGroup = None,
    redis_url: RedisUrl = None,
    desk: DeskName = "main",
    state: StateDir = None,
    json: AsJson = False,
) -> None:
    """Print what was set aside: when, by whom, which event, why."""

    async def read(letters: DeadLetters) -> tuple[int, list[DeadLetter]]:
        return await letters.count(), await letters.oldest(limit, group=group)

    count, found = _with_letters(redis_url, desk, state, read)
    if json:
        print_json(msgspec.json.encode({"count": count, "letters": [_shown(letter) for letter in found]}))
        return
    if not found:
        say("No dead letters.", "green")
        return
    shown = table("id", "set aside (UTC)", "group", "event", "tries", "why", right=("tries",))
    for letter in found:
        event = f"{_shown(letter)['type'] or '?'} {letter.stream.rpartition(':')[2]}/{letter.stream_id}"
        row(
            shown,
            letter.id,
            letter.at.strftime("%Y-%m-%d %H:%M:%S"),
            letter.group,
            event,
            letter.attempts,
            letter.reason,
        )
    console().print(shown)
    say(f"{count} in all. Send one again: breakwater dead-letters requeue ID")


@app.command(epilog="Example: breakwater dead-letters show 1760126400000-0")
def show(
    letter_id: LetterId,
    redis_url: RedisUrl = None,
    desk: DeskName = "main",
    state: StateDir = None,
    json: AsJson = False,
) -> None:
    """Print one with the whole event."""
    letter = _with_letters(redis_url, desk, state, lambda letters: _get(letters, letter_id))
    content = _shown(letter, whole=True)
    if json:
        print_json(msgspec.json.encode(content))
        return
    for name, value in content.items():
        say(f"{name}: {value if isinstance(value, str | int) else msgspec.json.encode(value).decode()}")


@app.command(epilog="Example: breakwater dead-letters requeue --all --group portfolio")
def requeue(
    letter_id: Annotated[str | None, typer.Argument(help="As `breakwater dead-letters list` prints it.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them, the oldest first.")] = False,
    group: OfGroup = None,
    redis_url: RedisUrl = None,
    desk: DeskName = "main",
    state: StateDir = None,
    json: AsJson = False,
) -> None:
    """Give the event to its component once more, under its own id. Asking again changes nothing and says so."""
    if (letter_id is None) is not every:
        raise CliError(Exit.USAGE, "Name one dead letter, or --all.", "See them: breakwater dead-letters list")
    if group is not None and not every:
        raise CliError(Exit.USAGE, "--group belongs to --all.", "A dead letter's id is enough.")

    async def send(letters: DeadLetters) -> list[tuple[str, str]]:
        found = [await _get(letters, letter_id)] if letter_id else await letters.oldest(10_000, group=group)
        return [(letter.id, await letters.requeue(letter, datetime.now(UTC))) for letter in found]

    _answer(_with_letters(redis_url, desk, state, send), "requeued", json=json)


@app.command(epilog='Example: breakwater dead-letters drop 1760126400000-0 --reason "a test event"')
def drop(
    letter_id: LetterId,
    reason: Reason,
    redis_url: RedisUrl = None,
    desk: DeskName = "main",
    state: StateDir = None,
    json: AsJson = False,
) -> None:
    """Forget an event: its component never handles it. The reason is kept with the id for 30 days."""
    why = checked_reason(reason)

    async def forget(letters: DeadLetters) -> list[tuple[str, str]]:
        letter = await _get(letters, letter_id)
        return [(letter.id, await letters.drop(letter, datetime.now(UTC), why))]

    _answer(_with_letters(redis_url, desk, state, forget), "dropped", json=json)


def _answer(settled: list[tuple[str, str]], done: str, *, json: bool) -> None:
    """Exit code 3 when one of them had been settled before."""
    if json:
        print_json(msgspec.json.encode({done: [{"id": name, "before": before or None} for name, before in settled]}))
    elif not settled:
        say("No dead letters.", "green")
    else:
        for name, before in settled:
            say(f"✗ {name} was {before}" if before else f"✓ {name} {done}", "yellow" if before else "green")
    if any(before for _, before in settled):
        raise typer.Exit(Exit.REFUSED)


async def _get(letters: DeadLetters, letter_id: str) -> DeadLetter:
    from breakwater.runtime.dead_letters import LetterUnknown

    parts = letter_id.split("-")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts):
        raise CliError(
            Exit.USAGE, f"{letter_id!r} is no id of a dead letter.", "See them: breakwater dead-letters list"
        )
    try:
        return await letters.get(letter_id)
    except LetterUnknown as error:
        raise CliError(Exit.REFUSED, f"{error}.", "What there is: breakwater dead-letters list") from error


def _shown(letter: DeadLetter, *, whole: bool = False) -> dict[str, Any]:
    try:
        event = msgspec.json.decode(letter.data)
    except UNREADABLE:
        event = None
    known = event if isinstance(event, dict) else {}
    content: dict[str, Any] = {
        "id": letter.id,
        "at": letter.at.isoformat(),
        "group": letter.group,
        "stream": letter.stream,
        "event": letter.stream_id,
        "type": str(known.get("type", "")),
        "time": str(known.get("time", "")),
        "attempts": letter.attempts,
        "reason": letter.reason,
    }
    if whole:
        content["data"] = event if event is not None else letter.data.decode(errors="replace")
    return content


def _with_letters(url: str | None, desk: str, state: Path | None, work: Callable[[DeadLetters], Awaitable[T]]) -> T:
    async def connected() -> T:
        from breakwater.domain.ids import DeskId
        from breakwater.runtime.dead_letters import DeadLetters
        from breakwater.runtime.logging import configure_logging
        from breakwater.runtime.redis_client import LOST, RedisClient

        configure_logging(level="error", desk=desk)
        async with _server(url, state_dir(state)) as found:
            try:
                client = RedisClient(found, socket_timeout=2.0)
            except ValueError as error:
                raise CliError(Exit.USAGE, f"--redis-url (or REDIS_URL) is no address of a Redis: {error}.") from error
            try:
                return await work(DeadLetters(client, DeskId(desk)))
            except LOST as error:
                raise CliError(
                    Exit.UNREACHABLE, f"Redis does not answer: {error}", "Check --redis-url or REDIS_URL."
                ) from error
            finally:
                await client.close()

    return asyncio.run(connected())


@contextlib.asynccontextmanager
async def _server(url: str | None, root: Path) -> AsyncIterator[str]:
    """The desk's own server: one given, the embedded one of a desk that runs, or that one started for the moment."""
    if url:
        yield url
        return
    directory = root / "valkey"
    if not directory.is_dir():
        raise CliError(
            Exit.USAGE,
            f"There is no embedded Redis in {root}.",
            "Name the desk's directory (--state-dir DIR) or its Redis (--redis-url URL).",
        )
    from breakwater.runtime.valkey_server import EmbeddedServer, ServerError, running_url

    running = running_url(directory)
    if running is not None:
        yield running
        return
    server = EmbeddedServer(directory)
    try:
        await server.start()
    except ServerError as error:
        raise CliError(Exit.UNREACHABLE, f"The desk's embedded Redis could not be started: {error}") from error
    try:
        yield server.url
    finally:
        await server.stop()
