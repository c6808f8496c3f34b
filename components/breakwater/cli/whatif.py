"""``breakwater whatif``: the same market and the same signals under other limits, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from breakwater.cli.errors import CliError, Exit
from breakwater.cli.options import AsJson, parse_seed, parse_utc, readable
from breakwater.cli.output import console, print_json, row, say, table

if TYPE_CHECKING:
    from breakwater.whatif.report import WhatIfReport

PROFILES = ("NORMAL", "DEFENSIVE", "AGGRESSIVE")


def whatif(
    journal: Annotated[
        Path | None, typer.Option(help="What a desk recorded: its state directory, or one recording-N.jsonl of it.")
    ] = None,
    market: Annotated[
        list[str] | None, typer.Option(help="Candle files, comma separated or repeated; or synthetic[:seed].")
    ] = None,
    signals: Annotated[
        str | None,
        typer.Option(help="long, momentum, or a JSONL file of signals. Default: the journal's own, else long."),
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="The policy to try: a YAML file, or NORMAL, DEFENSIVE, AGGRESSIVE.")
    ] = None,
    emergency_stop: Annotated[
        Path | None, typer.Option("--emergency-stop", help="YAML file with the EmergencyStop to try.")
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="What to compare with: a file with policy, stop or both, or a profile; repeat for more. "
            "Default: the desk's own policy, else NORMAL."
        ),
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="First instant, ISO 8601 in UTC. Default: the first there is.")
    ] = None,
    end: Annotated[str | None, typer.Option(help="Last instant, ISO 8601 in UTC. Default: the last there is.")] = None,
    auto_reset: Annotated[
        bool, typer.Option("--auto-reset", help="Reset after each trip once cooled down. Default: it stays tripped.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Write the equity curves to this SVG file.")] = None,
    json: AsJson = False,
) -> None:
    """Replay a market under other limits: trips, worst drawdown, refused orders, final equity, side by side."""
    names = [name for each in market or () for name in each.split(",") if name]
    if (journal is None) == (not names):
        raise CliError(
            Exit.USAGE,
            "Give one market: --journal or --market.",
            "For example: --journal .breakwater, --market synthetic:1, or --market BTCUSDT-5m.csv,ETHUSDT-5m.csv",
        )
    if journal is not None and not journal.expanduser().exists():
        raise CliError(Exit.USAGE, f"--journal {journal}: there is no such file or directory.", "Check the path.")
    begins = parse_utc("--start", start) if start else None
    ends = parse_utc("--end", end) if end else None
    if plot is not None and (plot.expanduser().is_dir() or not plot.expanduser().resolve().parent.is_dir()):
        raise CliError(
            Exit.USAGE, f"--plot {plot}: no file can be written there.", "Name a file in a directory that exists."
        )

    from breakwater.runtime.logging import configure_logging
    from breakwater.whatif.run import WhatIfOptions, run_whatif

    # The report is the answer, and nothing else may stand on stdout; of the rest only errors are worth a line.
    configure_logging(level="error", desk="whatif")
    options = WhatIfOptions(
        journal=journal.expanduser() if journal else None,
        market=_market(names),
        signals=signals if signals in (None, "long", "momentum") else str(readable(Path(signals), "--signals")),
        policy=_policy(policy, "--policy") if policy else None,
        stop=readable(emergency_stop, "--emergency-stop") if emergency_stop else None,
        against=tuple(_policy(each, "--against") for each in against or ()),
        start=begins,
        end=ends,
        auto_reset=auto_reset,
    )
    said = console(error=True)
    report = run_whatif(options, on_run=lambda name: said.print(f"replaying under {name} ...", style="dim"))
    if plot is not None:
        from breakwater.whatif.plot import svg

        target = plot.expanduser()
        try:
            target.write_text(svg(report), encoding="utf-8")
        except OSError as error:
            raise CliError(Exit.USAGE, f"--plot {plot}: {error.strerror or error}.", "Name another file.") from None
    if json:
        print_json(report.to_json())
    else:
        _show(report)
        if plot is not None:
            say(f"equity curves: {plot}")


def _market(names: list[str]) -> tuple[str, ...]:
    synthetic = [name for name in names if name.partition(":")[0] == "synthetic"]
    if synthetic and len(names) > 1:
        raise CliError(
            Exit.USAGE, f"--market {','.join(names)} is not a market.", "Give candle files, or synthetic[:seed] alone."
        )
    if synthetic:
        return (f"synthetic:{parse_seed(synthetic[0])}",)
    return tuple(str(readable(Path(name), "--market")) for name in names)


def _policy(name: str, option: str) -> str:
    return name.upper() if name.upper() in PROFILES and not Path(name).exists() else str(readable(Path(name), option))


def _show(report: WhatIfReport) -> None:
    from breakwater.whatif.summary import summary_rows

    columns = [run.name for run in report.runs] + (["recorded"] if report.recording is not None else [])
    shown = table("What if", *columns, "", right=columns)
    for label, cells, differs in summary_rows(report):
        row(shown, label, *cells, "differs" if differs else "")
    out = console()
    out.print(f"{', '.join(report.market.symbols)} from {report.market.start:%Y-%m-%d %H:%M} to "
              f"{report.market.end:%Y-%m-%d %H:%M} UTC, signals: {report.signals.source}")  # fmt: skip
    out.print(shown)
    for note in report.notes:
        out.print(f"note: {note}")
