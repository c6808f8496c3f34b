"""Runs the commands of the documentation as a reader would: one shell per document, one real desk at a time.

In a ```console or ```bash block a line that begins with ``$ `` is a command (a trailing ``\\`` continues it), ``^C`` stops
the desk that the document started, and the rest is what was printed (``...`` for more of it). ``make up`` and ``breakwater up``
run in the background once they have printed what the document shows. A comment right above a block changes how it is run:

* ``<!-- exit 3 -->``: the block's last command ends with 3 instead of 0;
* ``<!-- shows: one | two -->``: only these texts must be in both the document and the output, instead of every line;
* ``<!-- not run: reason -->``: for what needs another machine or another day.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
NEEDS_CLUSTER = "05-kubernetes.md"
"""Followed in a cluster: tests/cluster/test_guide.py."""
START_SECONDS, COMMAND_SECONDS, STOP_SECONDS = 60.0, 120.0, 30.0
MOMENTS = 16
SHORT_DRILL = "--start 2025-10-10T20:00:00Z --end 2025-10-10T20:45:00Z"
"""Long enough for crash, cooldown and reset; a drill without a window takes four times as long."""

_BLOCK = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*?) -->\n)?^```(?:console|bash)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
_VARIES = re.compile(
    r"(?P<word>\b(?:BUY|SELL|LONG|SHORT|\w+USDT|t\d+-\d+T\d+Z|[0-9a-f]{20}|\w+ \(cli\)))|(?P<number>[-+]?\d[\d.,:]*\b)|(?P<space>\s+)"
)
_LIKE = {
    "word": r"(?:BUY|SELL|LONG|SHORT|\w+USDT|t\d+-\d+T\d+Z|[0-9a-f]{20}|\w+ \(cli\))",
    "number": r"[-+]?\d[\d.,:]*",
    "space": r"\s+",
}


@dataclass
class Command:
    """One command of a document and what the document says about it."""

    text: str
    line: int
    pasted: list[str] = field(default_factory=list)
    exit_code: int = 0
    shows: list[str] | None = None
    unshown: list[str] = field(default_factory=list)
    """Texts that the comment names and the block does not show."""
    not_run: str = ""


def commands_of(document: Path) -> list[Command]:
    """The commands of a document's console blocks, in order."""
    text = document.read_text()
    found: list[Command] = []
    for block in _BLOCK.finditer(text):
        line = text.count("\n", 0, block.start("body")) + 1
        commands = _commands(block["body"], line)
        _mark(commands, block["note"] or "")
        found += commands
    return found


def _commands(body: str, line: int) -> list[Command]:
    commands: list[Command] = []
    continues = False
    for number, text in enumerate(body.splitlines(), start=line):
        if continues:
            commands[-1].text += "\n" + text
            continues = text.endswith("\\")
        elif text.startswith("$ ") or text == "^C":
            commands.append(Command(text.removeprefix("$ "), number))
            continues = text.endswith("\\")
        elif commands and text.strip():
            commands[-1].pasted.append(text)
    return commands


def _mark(commands: list[Command], note: str) -> None:
    if note.startswith("exit "):
        commands[-1].exit_code = int(note.removeprefix("exit "))
    elif note.startswith("shows: "):
        shows = [part.strip() for part in note.removeprefix("shows: ").split("|")]
        pasted = "\n".join(line for each in commands for line in each.pasted)
        commands[-1].unshown = [part for part in shows if part not in pasted]
        for command in commands:
            command.shows = shows
    elif note.startswith("not run: "):
        for command in commands:
            command.not_run = note.removeprefix("not run: ")


def missing_lines(command: Command, output: str) -> list[str]:
    """Pasted lines that nothing in ``output`` looks like; numbers, times, ids, symbols and sides may differ."""
    flat = re.sub(r"\x1b\[[0-9;]*m", "", output)
    if command.shows is not None:
        return [part for part in command.shows if part not in flat and part in "\n".join(command.pasted)]
    return [line for line in command.pasted if line.strip() != "..." and not re.search(_pattern(line), flat)]


def _pattern(line: str) -> str:
    parts, at = [], 0
    for match in _VARIES.finditer(line.strip()):
        parts += [re.escape(line.strip()[at : match.start()]), _LIKE[match.lastgroup or "space"]]
        at = match.end()
    return "".join([*parts, re.escape(line.strip()[at:])])


class Reader:
    """Somebody who follows one document in an empty directory beside a copy of the project."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.transcript: list[str] = []
        self.problems: list[str] = []
        self._port = _free_port()
        self._shell: asyncio.subprocess.Process | None = None
        self._desk: asyncio.subprocess.Process | None = None
        self._said = bytearray()

    async def follow(self, commands: list[Command]) -> None:
        """Run them all; what went otherwise than written is in ``problems``. Nothing is left running."""
        for name in ("profiles", "crds", "helm", "Makefile"):
            (self.home / name).symlink_to(ROOT / name)
        (self.home / ".venv").symlink_to(sys.prefix)
        self._shell = await self._start("bash", "--norc", "--noprofile", stdin=True)
        try:
            for command in commands:
                if not await self._one(command):
                    break
        finally:
            for process in (self._desk, self._shell):
                if process is not None and process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    await process.wait()

    async def _one(self, command: Command) -> bool:
        if command.unshown:
            self.problems.append(
                f"line {command.line}: the comment names {command.unshown}, the block does not show it"
            )
        if command.not_run:
            return self._note(command, f"(not run: {command.not_run})")
        if command.text == "make test":
            return self._note(command, "(not run: this is that run)")
        began = time.monotonic()
        try:
            code, output = await self._do(command)
            # "sleep 2; ..." means: give it a moment. A slow machine needs a longer one, and who only looks can look again.
            for _ in range(MOMENTS if command.text.startswith(("sleep ", "breakwater status")) else 0):
                if code == command.exit_code and not missing_lines(command, output):
                    break
                code, output = await self._do(command)
        except TimeoutError as error:
            self.problems.append(f"line {command.line}: {command.text}: {error}\n{self._said.decode(errors='replace')}")
            return False
        self._note(command, f"{output}({time.monotonic() - began:.1f} s)\n")
        if code != command.exit_code:
            self.problems.append(
                f"line {command.line}: {command.text}: exit code {code}, not {command.exit_code}\n{output}"
            )
        for line in missing_lines(command, output):
            self.problems.append(f"line {command.line}: {command.text}: no output like {line!r}\n{output}")
        return True

    async def _do(self, command: Command) -> tuple[int, str]:
        if command.text == "^C":
            return await self._interrupt()
        if re.match(r"(make|breakwater) up\b", command.text) and not command.exit_code:
            return await self._up(command)
        return await self._run(self._here(command.text))

    def _note(self, command: Command, output: str) -> bool:
        self.transcript.append(f"$ {command.text}\n{output}")
        return True

    def _here(self, text: str) -> str:
        """The command with this run's port and the project's shortest drill."""
        text = text.replace("127.0.0.1:8080", f"127.0.0.1:{self._port}")
        if " drill crash " in text and "--start" not in text and "--help" not in text:
            text = f"{text} {SHORT_DRILL}"
        return text

    async def _up(self, command: Command) -> tuple[int, str]:
        last = [line for line in command.pasted if line.strip() != "..."][-1]
        arguments = shlex.split(command.text)[2:]
        for argument in arguments[:]:
            if argument.startswith("ARGS="):
                arguments.remove(argument)
                arguments += shlex.split(argument.removeprefix("ARGS="))
        breakwater = str(Path(sys.executable).with_name("breakwater"))
        self._said.clear()
        self._desk = await self._start(breakwater, "up", "--port", str(self._port), *arguments)
        return 0, await self._listen(self._desk, _pattern(last), START_SECONDS)

    async def _interrupt(self) -> tuple[int, str]:
        assert self._desk is not None
        self._said.clear()
        self._desk.send_signal(signal.SIGINT)
        output = await self._listen(self._desk, None, STOP_SECONDS)
        return await self._desk.wait(), output

    async def _run(self, text: str) -> tuple[int, str]:
        assert self._shell is not None
        assert self._shell.stdin is not None
        self._said.clear()
        self._shell.stdin.write(f"{text}\nprintf '\\n--ended %s--\\n' $?\n".encode())
        output = await self._listen(self._shell, r"--ended \d+--", COMMAND_SECONDS)
        text_before, _, rest = output.rpartition("--ended ")
        return int(rest.partition("--")[0]), text_before.strip("\n") + "\n"

    async def _listen(self, process: asyncio.subprocess.Process, until: str | None, seconds: float) -> str:
        """What it says until a line matches ``until``, or until it ends. Raises TimeoutError."""
        assert process.stdout is not None
        try:
            async with asyncio.timeout(seconds):
                while line := await process.stdout.readline():
                    self._said += line
                    if until is not None and re.search(until, line.decode(errors="replace")):
                        return self._said.decode(errors="replace")
        except TimeoutError:
            raise TimeoutError(f"nothing came for {seconds:.0f} s") from None
        if until is not None:
            raise TimeoutError(f"it ended with {await process.wait()}")
        return self._said.decode(errors="replace")

    async def _start(self, *words: str, stdin: bool = False) -> asyncio.subprocess.Process:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("BREAKWATER_", "REDIS_"))}
        return await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=self.home,
            env=kept | {"COLUMNS": "100", "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def documents() -> list[Path]:
    """What a reader follows: the README and the guide, but for the page that needs a cluster."""
    guide = sorted((ROOT / "docs" / "guide").glob("*.md"))
    return [ROOT / "README.md", *(page for page in guide if page.name != NEEDS_CLUSTER)]


@pytest.fixture(scope="session")
def pages() -> list[Path]:
    """Every page of documentation."""
    named = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    return [*named, *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture(scope="session")
def reference() -> Path:
    return ROOT / "docs" / "reference"


@pytest.fixture(scope="session")
def followed(documents: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reader]:
    """Every document followed to its end, three at a time; $BREAKWATER_TRANSCRIPTS names a directory to keep what was said."""
    readers = {document.name: Reader(tmp_path_factory.mktemp(document.stem)) for document in documents}

    todo = {document.name: commands_of(document) for document in documents}

    async def follow_all() -> None:
        free = asyncio.Semaphore(3)

        async def follow(name: str) -> None:
            async with free:
                await readers[name].follow(todo[name])
            if target := os.environ.get("BREAKWATER_TRANSCRIPTS"):
                (Path(target) / f"{name}.txt").write_text("\n".join(readers[name].transcript))

        # The longest first, so that it does not begin when all others are done.
        await asyncio.gather(*map(follow, sorted(todo, key=lambda name: -len(todo[name]))))

    asyncio.run(follow_all())
    return readers


@pytest.fixture
def problems_of(tmp_path: Path) -> Callable[[str], list[str]]:
    """What goes otherwise than written when somebody follows a document with this text."""

    def follow(text: str) -> list[str]:
        page = tmp_path / "page.md"
        page.write_text(text)
        home = tmp_path / "home"
        home.mkdir()
        reader = Reader(home)
        asyncio.run(reader.follow(commands_of(page)))
        return reader.problems

    return follow
