"""``breakwater up``: a whole desk in one process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from breakwater.cli.errors import CliError, Exit
from breakwater.cli.options import StateDir, parse_seed, parse_speed, readable, state_dir

PROFILES = ("NORMAL", "DEFENSIVE", "AGGRESSIVE")
FILLS = ("full", "book")


def up(
    market: Annotated[
        str,
        typer.Option(
            help="synthetic[:seed], replay:FILE[,FILE] with recorded candles, capture:FILE[,FILE] with raw messages, or live public data of the exchange (live, live:URL)."
        ),
    ] = "synthetic",
    speed: Annotated[str, typer.Option(help="Market seconds per second, up to 60.")] = "1",
    profile: Annotated[
        str | None, typer.Option(help="NORMAL, DEFENSIVE or AGGRESSIVE, instead of a policy file.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="YAML file with the TradingPolicy (and the EmergencyStop, if in one file).")
    ] = None,
    emergency_stop: Annotated[
        Path | None, typer.Option("--emergency-stop", help="YAML file with the EmergencyStop.")
    ] = None,
    state: StateDir = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Beyond loopback, reading needs the token too.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the page and all interfaces; 0 takes a free one.")
    ] = 8080,
    redis_url: Annotated[
        str | None,
        typer.Option(
            envvar="REDIS_URL", show_envvar=True, help="Use this Redis or Valkey instead of the embedded one."
        ),
    ] = None,
    signals: Annotated[
        list[str] | None,
        typer.Option(
            help="momentum, long, or a JSONL file of signals; repeat for more. Default: momentum. POST /v1/signals always works."
        ),
    ] = None,
    fills: Annotated[
        str,
        typer.Option(
            envvar="BREAKWATER_VENUE_FILLS",
            show_envvar=True,
            help="full: orders fill at once; book: from a book of limited depth, in parts.",
        ),
    ] = "full",
) -> None:
    """Start a desk that trades on paper, with its page. Ctrl-C stops it; starting again goes on where it was."""
    if profile is not None and profile.upper() not in PROFILES:
        raise CliError(Exit.USAGE, f"--profile {profile} is not a profile.", f"Choose {', '.join(PROFILES)}.")
    if profile is not None and policy is not None:
        raise CliError(
            Exit.USAGE,
            "--profile and --policy both say what may be risked.",
            "Give one: a policy file names its profile itself.",
        )
    if fills.lower() not in FILLS:
        raise CliError(Exit.USAGE, f"--fills {fills} is not known.", f"Choose {' or '.join(FILLS)}.")
    checked_market = _market(market)
    rate = parse_speed(speed, or_max=False)
    sources = tuple(_signal_source(each) for each in signals or ("momentum",))
    policy_file = readable(policy, "--policy") if policy else None
    stop_file = readable(emergency_stop, "--emergency-stop") if emergency_stop else None

    from breakwater.desk.up import UpOptions
    from breakwater.desk.up import up as run

    options = UpOptions(
        market=checked_market,
        speed=rate,
        profile=profile.upper() if profile else None,
        policy_file=policy_file,
        stop_file=stop_file,
        state_dir=state_dir(state),
        host=host,
        port=port,
        redis_url=_redis_url(redis_url) if redis_url else None,
        signals=sources,
        fills=fills.lower(),
    )
    raise typer.Exit(asyncio.run(run(options)))


def _market(text: str) -> str:
    kind, _, rest = text.partition(":")
    if kind == "synthetic":
        parse_seed(text)
        return text
    files = [name for name in rest.split(",") if name]
    if kind == "live":
        return text
    if kind in ("replay", "capture") and files:
        return f"{kind}:" + ",".join(str(readable(Path(name), "--market")) for name in files)
    raise CliError(
        Exit.USAGE,
        f"--market {text} is not a market.",
        "Give synthetic, synthetic:SEED, replay:FILE[,FILE], capture:FILE[,FILE] or live.",
    )


def _redis_url(text: str) -> str:
    from breakwater.runtime.settings import parse_redis_url

    try:
        return parse_redis_url(text)
    except ValueError as error:
        # Not shown: it may carry a password.
        raise CliError(
            Exit.USAGE,
            f"--redis-url (or REDIS_URL) is no address of a Redis: {error}.",
            "For example redis://localhost:6379/0",
        ) from None


def _signal_source(text: str) -> str:
    return text if text in ("long", "momentum") else str(readable(Path(text), "--signals"))
