"""``breakwater drill``: rehearsals on an isolated paper desk, with a report whose keys are an interface."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from breakwater.cli.errors import CliError, Exit
from breakwater.cli.options import AsJson, parse_seed, parse_speed, parse_utc, readable
from breakwater.cli.output import console, print_json, row, table

if TYPE_CHECKING:
    from breakwater.drills.report import Report

app = typer.Typer(no_args_is_help=True, help="Rehearse on an isolated paper desk.", rich_markup_mode=None)

SYNTHETIC_START = datetime(2025, 10, 10, 20, 0, tzinfo=UTC)
SYNTHETIC_END = datetime(2025, 10, 11, 0, 30, tzinfo=UTC)


@app.callback()
def drills() -> None:
    """Rehearse on an isolated paper desk."""


@app.command(
    epilog="Example: breakwater drill crash --market BTCUSDT.csv,ETHUSDT.csv --start 2025-10-10T20:00:00Z --end 2025-10-11T00:30:00Z"
)
def crash(
    market: Annotated[list[str], typer.Option(help="Candle files, comma separated or repeated; or synthetic[:seed].")],
    start: Annotated[str | None, typer.Option(help="First instant, ISO 8601 in UTC. Needed with files.")] = None,
    end: Annotated[str | None, typer.Option(help="Last instant, ISO 8601 in UTC. Needed with files.")] = None,
    signals: Annotated[str, typer.Option(help="long, momentum, or a JSONL file of signals.")] = "long",
    speed: Annotated[str, typer.Option(help="max (virtual time), or up to 60 on real Redis and HTTP.")] = "max",
    policy: Annotated[Path | None, typer.Option(help="YAML file with the TradingPolicy.")] = None,
    emergency_stop: Annotated[
        Path | None, typer.Option("--emergency-stop", help="YAML file with the EmergencyStop.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Run a desk through a crash: does it trip, go flat, agree with the venue to the cent, and re-arm only as it may?"""
    names = [name for each in market for name in each.split(",") if name]
    synthetic = [name for name in names if name.partition(":")[0] == "synthetic"]
    if not names or (synthetic and len(names) > 1):
        raise CliError(
            Exit.USAGE, f"--market {','.join(names)} is not a market.", "Give candle files, or synthetic[:seed] alone."
        )
    if not synthetic and (start is None or end is None):
        raise CliError(
            Exit.USAGE,
            "Candle files need --start and --end.",
            "For example: --start 2025-10-10T20:00:00Z --end 2025-10-11T00:30:00Z",
        )
    begins = parse_utc("--start", start) if start else SYNTHETIC_START
    ends = parse_utc("--end", end) if end else SYNTHETIC_END
    if ends <= begins:
        raise CliError(
            Exit.USAGE, f"--end {ends.isoformat()} is not after --start {begins.isoformat()}.", "Give a later --end."
        )
    rate = parse_speed(speed, or_max=True)
    source = signals if signals in ("long", "momentum") else str(readable(Path(signals), "--signals"))
    files = (
        (f"synthetic:{parse_seed(synthetic[0])}",) if synthetic else tuple(readable(Path(n), "--market") for n in names)
    )

    from breakwater.drills.crash import CrashOptions, run_crash

    _quiet()
    options = CrashOptions(
        market=files,
        start=begins,
        end=ends,
        signals=source,
        speed="max" if rate == float("inf") else rate,
        policy=readable(policy, "--policy") if policy else None,
        stop=readable(emergency_stop, "--emergency-stop") if emergency_stop else None,
    )
    _show("Crash drill", run_crash(options), json=json)


@app.command("redis-outage", epilog="Example: breakwater drill redis-outage --seconds 10 --kill")
def redis_outage(
    seconds: Annotated[float, typer.Option(help="How long Redis is away: 4 to 120.")] = 10.0,
    kill: Annotated[
        bool, typer.Option("--kill", help="Kill the server (-9) and start it again; without, it hangs and goes on.")
    ] = False,
    events: Annotated[
        int, typer.Option(help="Events a second beside the desk's own, 0 to 2000.", min=0, max=2000)
    ] = 200,
    speed: Annotated[str, typer.Option(help="Market seconds per second, up to 60.")] = "20",
    state: Annotated[
        Path | None, typer.Option("--state-dir", help="Empty directory to use and keep. Default: a temporary one.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Take Redis away from a desk that trades: is anything lost or doubled, does the gate close, do exits go out?"""
    rate = parse_speed(speed, or_max=False)

    from breakwater.drills.redis_outage import RedisOutageOptions, run_redis_outage

    _quiet("critical")  # that the server is away is what this is about
    directory = state.expanduser() if state else None
    report = run_redis_outage(
        RedisOutageOptions(seconds=seconds, kill=kill, speed=rate, per_second=events, state_dir=directory)
    )
    _show("Redis drill", report, json=json)
    raise typer.Exit(Exit.OK if report.verdict == "PASSED" else Exit.UNEXPECTED)


@app.command(epilog="Example: breakwater drill reset --speed max")
def reset(
    market: Annotated[str, typer.Option(help="synthetic[:seed]")] = "synthetic",
    speed: Annotated[str, typer.Option(help="max (virtual time), or up to 60 on real Redis and HTTP.")] = "max",
    json: AsJson = False,
) -> None:
    """Trip a desk and ask for the reset in every wrong way, then in the right one: is each answered once and as it must be?"""
    rate = parse_speed(speed, or_max=True)
    if market.partition(":")[0] != "synthetic":
        raise CliError(Exit.USAGE, f"--market {market} is not a market of this drill.", "Give synthetic[:seed].")
    seed = parse_seed(market)

    from breakwater.drills.reset import ResetOptions, run_reset

    _quiet()
    report = run_reset(ResetOptions(seed, "max" if rate == float("inf") else rate))
    _show("Reset drill", report, json=json)
    raise typer.Exit(Exit.OK if report.verdict == "PASSED" else Exit.UNEXPECTED)


def _quiet(level: str = "error") -> None:
    """The report is the answer, and nothing else may stand on stdout; of the rest only errors are worth a line."""
    from breakwater.runtime.logging import configure_logging

    configure_logging(level=level, desk="drill")


def _show(title: str, report: Report, *, json: bool) -> None:
    if json:
        print_json(report.to_json())
        return
    shown = table(title, "")
    for label, value in report.summary_rows():
        row(shown, label, value)
    console().print(shown)
