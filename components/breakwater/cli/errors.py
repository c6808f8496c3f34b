"""How commands end: exit codes, and errors that are one sentence and a remedy. Documented in docs/reference/cli.md."""

from __future__ import annotations

import enum
from collections.abc import Sequence


class Exit(enum.IntEnum):
    """Exit codes of every command: an interface for scripts."""

    OK = 0
    UNEXPECTED = 1
    """A fault of the program; ``--debug`` shows where."""
    USAGE = 2
    """Wrong options or a wrong file: nothing was done."""
    REFUSED = 3
    """The desk understood and said no."""
    UNREACHABLE = 4
    """No desk runs, it does not answer, or it does not take this token."""
    INTERRUPTED = 130


class CliError(Exception):
    """Ends the command with ``code``. Each line is a sentence for a person; ``remedy`` says what to do next."""

    def __init__(self, code: Exit, problem: str | Sequence[str], remedy: str = "") -> None:
        self.code = code
        self.lines = (problem,) if isinstance(problem, str) else tuple(problem)
        self.remedy = remedy
        super().__init__("\n".join((*self.lines, remedy) if remedy else self.lines))


def known_error(error: Exception) -> CliError | None:
    """Errors that say themselves what is wrong, wherever they come from. Imports late: only a failing command pays."""
    from breakwater.desk.rundir import NoDeskRuns, RunDirError

    match error:
        case CliError():
            return error
        case NoDeskRuns():
            return CliError(Exit.UNREACHABLE, error.problem, error.remedy)
        case RunDirError():
            return CliError(Exit.USAGE, error.problem, error.remedy)
    from breakwater.ai_engine.sources.jsonl import SignalFileError
    from breakwater.backup.archive import BackupError
    from breakwater.desk.sources import DeskInputError
    from breakwater.paper_venue.http import PortInUseError
    from breakwater.paper_venue.json_text import JsonTextError
    from breakwater.paper_venue.markets import MarketFileError
    from breakwater.paper_venue.state_file import StateFileError
    from breakwater.runtime.bus import BusUnavailable
    from breakwater.runtime.http import PortInUse
    from breakwater.runtime.journal import JournalCorrupt
    from breakwater.runtime.manifest_errors import ManifestError
    from breakwater.runtime.ports import DiskError, StoreUnavailable
    from breakwater.runtime.settings import SettingsError
    from breakwater.runtime.valkey_server import ServerError

    match error:
        case ManifestError() | SettingsError():
            return CliError(
                Exit.USAGE,
                [str(problem) for problem in error.problems],
                "Nothing was changed: mend these and try again.",
            )
        case BackupError():
            return CliError(Exit.USAGE, error.problem, error.remedy)
        case (
            DeskInputError()
            | JsonTextError()
            | MarketFileError()
            | SignalFileError()
            | StateFileError()
            | PortInUseError()
        ):
            return CliError(Exit.USAGE, str(error))
        case PortInUse():
            return CliError(Exit.USAGE, str(error), "With `breakwater up`, --port 0 takes any free one.")
        case StoreUnavailable() | BusUnavailable():
            return CliError(
                Exit.UNREACHABLE,
                f"Redis does not answer: {error}",
                "Check --redis-url or REDIS_URL, or leave it out to use the embedded one.",
            )
        case ServerError():
            remedy = "Or use a Redis of your own: --redis-url URL."
            return CliError(Exit.USAGE, f"The embedded Redis could not be started: {error}", remedy)
        case DiskError() | JournalCorrupt():
            return CliError(Exit.USAGE, str(error), "Check the directory's permissions and free space.")
    return None
