"""``breakwater policy``: what the desk may do, what a change would do, and applying it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from breakwater.cli.client import DeskClient, body_of, sentences, who
from breakwater.cli.errors import CliError, Exit
from breakwater.cli.options import AsJson, StateDir, readable, state_dir
from breakwater.cli.output import console, print_json, row, say, table

if TYPE_CHECKING:
    import httpx

app = typer.Typer(no_args_is_help=True, help="Show, compare and change the policy in force.", rich_markup_mode=None)

Files = Annotated[
    list[Path], typer.Argument(help="YAML with the TradingPolicy and the EmergencyStop: one file, or two.")
]


@app.command(epilog="Example: breakwater policy show")
def show(state: StateDir = None, json: AsJson = False) -> None:
    """The policy in force: every limit as asked for and as enforced, and which setting binds."""
    answer = asyncio.run(_get(state))
    if json:
        print_json(answer.content)
        return
    found = body_of(answer)
    spec, stop = found["TradingPolicy"]["spec"], found["EmergencyStop"]["spec"]
    say(f"Version {found['version']}  {spec['profile']}  {spec['tradingMode']}  {' '.join(spec['symbols'])}", "bold")
    if found["stale"]:
        say("STALE: not confirmed by the store for ten minutes, or another copy differs; nothing is opened", "bold red")
    if found["hold"]:
        say(f"ON HOLD: nothing is opened: {found['hold']}", "bold red")
    for problem in found["problems"]:
        say(problem, "yellow")
    limits = table("Limit", "In force", "Asked for", "Binds", right=("In force", "Asked for"))
    for limit in found["limits"]:
        tightened = "yellow" if limit["effective"] != limit["requested"] else None
        row(limits, limit["name"], limit["effective"], limit["requested"], limit["binding"], style=tightened)
    console().print(limits)
    if rules := spec.get("mathematician"):
        say("Mathematician on: " + ", ".join(f"{name} {value}" for name, value in rules.items()))
    enabled = "enabled" if stop["enabled"] else "DISABLED"
    say(
        f"Emergency stop {enabled}: cooldown {stop['cooldownMinutes']} min, {stop['maxConsecutiveErrors']} errors in a row, reset by a person {'allowed' if stop['allowManualReset'] else 'not allowed'}"
    )


@app.command(epilog="Example: breakwater policy history")
def history(state: StateDir = None, json: AsJson = False) -> None:
    """The last 50 versions, newest first: who, when, what changed."""
    answer = asyncio.run(_get(state))
    entries: list[dict[str, Any]] = body_of(answer)["history"]
    if json:
        import msgspec

        print_json(msgspec.json.encode({"history": entries}))
        return
    for entry in entries:
        say(f"{entry['version']}  {entry['time'][:19].replace('T', ' ')} UTC  {entry['who']}", "bold")
        changes: list[str] = entry["changes"]
        if changes and all(": not set -> " in change for change in changes):
            changes = [f"first version: {len(changes)} fields set"]
        for change in changes:
            say(f"   {change}")


@app.command(epilog="Example: breakwater policy diff profiles/defensive.yaml")
def diff(files: Files, state: StateDir = None, json: AsJson = False) -> None:
    """What applying FILES would change, and whether it would be refused now. Changes nothing."""
    answer = asyncio.run(_post(state, "/v1/policy/diff", _checked(files)))
    if json:
        print_json(answer.content)
        return
    _would_change(body_of(answer))


@app.command(epilog="Example: breakwater policy apply profiles/defensive.yaml")
def apply(files: Files, state: StateDir = None, json: AsJson = False) -> None:
    """Bring FILES into force, whole or not at all."""
    answer = asyncio.run(_post(state, "/v1/policy", _checked(files), {"who": who()}))
    if json:
        print_json(answer.content)
        return
    _now_in_force(body_of(answer))


@app.command(epilog="Example: breakwater policy snapshot policy-2026-11-22.json")
def snapshot(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")],
    state: StateDir = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE.")] = False,
) -> None:
    """Write the policy in force with its history to FILE, with a digest: `restore` takes nothing that was changed since."""
    target = file.expanduser()
    if target.exists() and not force:
        raise CliError(Exit.USAGE, f"FILE {file}: there is one already.", "Give another name, or --force.")
    from breakwater.runtime.file_disk import replace_file

    answer = asyncio.run(_get(state, "/v1/policy/snapshot"))
    try:
        replace_file(target, answer.content)
    except OSError as error:
        raise CliError(Exit.USAGE, f"FILE {file}: cannot be written: {error.strerror}.") from error
    say(f"✓ version {body_of(answer)['version']} is in {file}", "green")


@app.command(epilog="Example: breakwater policy restore policy-2026-11-22.json")
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `snapshot` wrote.")],
    state: StateDir = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: AsJson = False,
) -> None:
    """Bring the policy of a snapshot into force again, as a new version; shows first what that changes."""
    from breakwater.runtime.policy_copy import BadCopy, decode_copy

    data = readable(file, "FILE").read_bytes()
    try:
        copy = decode_copy(data)
    except BadCopy as error:
        raise CliError(
            Exit.USAGE, f"FILE {file} is no whole snapshot: {error}.", "Nothing was changed. Take another snapshot."
        ) from error
    question = {"who": f"{who()}, from the snapshot of version {copy.version}"}
    if not yes:
        if json or not sys.stdin.isatty():
            raise CliError(Exit.USAGE, "Nobody can be asked here.", "Nothing was changed. Add --yes to do it.")
        _would_change(body_of(asyncio.run(_post(state, "/v1/policy/restore", data, question | {"dry": "true"}))))
        typer.confirm("Bring this into force?", abort=True)
    answer = asyncio.run(_post(state, "/v1/policy/restore", data, question))
    if json:
        print_json(answer.content)
        return
    _now_in_force(body_of(answer))


def _now_in_force(found: dict[str, Any]) -> None:
    say(
        f"✓ version {found['version']} is in force"
        if found["changed"]
        else f"Nothing differs: version {found['version']} stays in force",
        "green",
    )
    _differences(found)


def _would_change(found: dict[str, Any]) -> None:
    _differences(found)
    for problem in found["refused"]:
        remedy = f": {problem['remedy']}" if problem["remedy"] else ""
        say(f"would be refused now: {problem['field']} {problem['problem']}{remedy}", "bold red")


def _differences(found: dict[str, Any]) -> None:
    if not found["changes"]:
        say("No field differs.")
    for change in found["changes"]:
        say(f"   {change}")
    for change in found["effective"]:
        say(f"   {change}", "bold")
    for waits in found["waits"]:
        say(f"   {waits}", "yellow")
    for note in found["notes"]:
        say(f"   {note}", "yellow")


def _checked(files: list[Path]) -> bytes:
    """The text of all files, each checked here first, so that every problem names its own file and line."""
    from breakwater.runtime.manifests import load_manifests

    paths = [readable(path, "FILE") for path in files]
    load_manifests(*paths)
    return b"\n---\n".join(path.read_bytes() for path in paths)


async def _get(state: Path | None, path: str = "/v1/policy") -> httpx.Response:
    desk = DeskClient(state_dir(state))
    answer = await desk.get(path)
    if answer.status_code == 503:
        raise CliError(Exit.REFUSED, sentences(answer))
    if answer.status_code != 200:
        raise desk.unexpected(answer)
    return answer


async def _post(state: Path | None, path: str, content: bytes, params: dict[str, str] | None = None) -> httpx.Response:
    desk = DeskClient(state_dir(state))
    answer = await desk.post(path, content=content, params=params)
    if answer.status_code in (409, 413, 422, 503):
        raise CliError(Exit.REFUSED, sentences(answer), "Nothing was changed.")
    if answer.status_code != 200:
        raise desk.unexpected(answer)
    return answer
