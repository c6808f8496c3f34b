"""``breakwater``: a contents page of its commands. What they do lives in one file per group; heavy imports inside them."""

from __future__ import annotations

import sys
import traceback
from typing import Annotated

import typer

from breakwater.cli import audit, buffer, dead_letters, drill, policy, signal, throttle
from breakwater.cli.backup import backup, restore
from breakwater.cli.errors import Exit, known_error
from breakwater.cli.output import complain
from breakwater.cli.run import run
from breakwater.cli.status import status
from breakwater.cli.stop import reset, trip
from breakwater.cli.up import up
from breakwater.cli.whatif import whatif

app = typer.Typer(
    name="breakwater",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Runs crypto-futures trading desks and keeps them from hurting their owner.",
    epilog="Exit codes: 0 done, 2 wrong options or file, 3 refused by the desk, 4 no desk reached, 1 anything unexpected.",
)
app.command(epilog="Example: breakwater up --market synthetic:7 --speed 20")(up)
app.command(epilog="Example: breakwater status --json")(status)
app.command(epilog='Example: breakwater trip --reason "news"')(trip)
app.command(epilog='Example: breakwater reset --reason "checked, the news is over" --new-baseline')(reset)
app.add_typer(policy.app, name="policy")
app.add_typer(audit.app, name="audit")
app.add_typer(drill.app, name="drill")
app.add_typer(signal.app, name="signal")
app.add_typer(throttle.app, name="throttle")
app.add_typer(buffer.app, name="buffer")
app.add_typer(dead_letters.app, name="dead-letters")
app.command(epilog="Example: breakwater whatif --journal .breakwater --policy AGGRESSIVE")(whatif)
app.command(epilog="Example: breakwater backup desk.backup --state-dir .breakwater")(backup)
app.command(epilog="Example: breakwater restore desk.backup --state-dir elsewhere")(restore)
app.command(epilog="Example: breakwater run execution")(run)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"breakwater {version('breakwater')}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where in the program an unexpected error arose.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Runs crypto-futures trading desks and keeps them from hurting their owner."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with one of `Exit`. ``--debug`` may stand anywhere."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        app([each for each in given if each != "--debug"], prog_name="breakwater")
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has seen enough; keep the interpreter from complaining at exit.
        sys.stderr.close()
        sys.exit(Exit.OK)
    except Exception as error:  # noqa: BLE001  the last resort: a message, never a bare traceback
        known = known_error(error)
        if debug:
            traceback.print_exc()
        if known is not None:
            complain(known.lines, known.remedy)
            sys.exit(known.code)
        complain(
            (f"Unexpected {type(error).__name__}: {error}",),
            "This is a fault in Breakwater. The same command with --debug shows where; what the desk had stored is kept.",
        )
        sys.exit(Exit.UNEXPECTED)


if __name__ == "__main__":
    main()
