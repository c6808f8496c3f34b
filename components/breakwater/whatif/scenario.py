"""From what a person named to what is run: one market, one set of signals, and the policies to compare on them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import yaml

from breakwater.desk.recording import Given, Recording, read_recording
from breakwater.desk.sources import DeskInputError, restricted_to
from breakwater.domain.ids import Symbol
from breakwater.domain.policy import Profile, TradingMode
from breakwater.domain.signals import DataKind
from breakwater.paper_venue.clock import to_datetime
from breakwater.paper_venue.config import DEFAULT_ACCOUNT, SymbolSpec, spec_for
from breakwater.paper_venue.markets import Market, ReplayMarket, SyntheticMarket
from breakwater.paper_venue.markets.replay import load_candles
from breakwater.runtime.manifests import POLICY_KIND, STOP_KIND, DeskManifests, load_manifests, load_policy, load_stop
from breakwater.runtime.resources import profile_file
from breakwater.whatif.recorded_market import RecordedMarket
from breakwater.whatif.signals import BUILT_IN, read_signals

SYNTHETIC_START = datetime(2025, 10, 10, 20, 0, tzinfo=UTC)
SYNTHETIC_LENGTH = timedelta(hours=4, minutes=30)
HISTORY = timedelta(days=1)
"""How much of a file of candles serves as history when no start is given."""


@dataclass(frozen=True)
class WhatIfOptions:
    """``journal`` or ``market`` (candle files, or ``synthetic:SEED``). Policies by file, or by a profile's name."""

    journal: Path | None = None
    market: tuple[str, ...] = ()
    signals: str | None = None
    policy: str | None = None
    stop: Path | None = None
    against: tuple[str, ...] = ()
    start: datetime | None = None
    end: datetime | None = None
    auto_reset: bool = False


@dataclass(frozen=True)
class Side:
    """One policy to run."""

    name: str
    manifests: DeskManifests


@dataclass(frozen=True)
class Scenario:
    """What all sides have in common. ``market()`` makes it anew for each run."""

    source: str
    market: Callable[[], Market]
    specs: tuple[SymbolSpec, ...]
    data: DataKind
    start: datetime
    end: datetime
    starting_equity: Decimal
    signals_name: str
    recorded: tuple[Given, ...] | None
    """None: a built-in source, named ``signals_name``."""
    auto_reset: bool
    sides: tuple[Side, ...]
    notes: tuple[str, ...] = ()
    recording: Recording | None = None

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(spec.symbol for spec in self.specs)


def make_scenario(options: WhatIfOptions) -> Scenario:
    """Read and check everything. Raises DeskInputError, ManifestError, MarketFileError; nothing has run then."""
    for moment, name in ((options.start, "start"), (options.end, "end")):
        if moment is not None and moment.tzinfo is None:
            raise DeskInputError(f"{name} has no time zone: write it like 2025-10-10T20:00:00Z")
    if (options.journal is None) == (not options.market):
        raise DeskInputError("give one market: --journal of a desk, or --market with candle files or synthetic:SEED")
    return _from_journal(options, options.journal) if options.journal is not None else _from_market(options)


# -------------------------------------------------------------------------------------------------- the two kinds


def _from_journal(options: WhatIfOptions, path: Path) -> Scenario:
    recording = read_recording(path)
    first, last = recording.span
    start, end = _span(options, first, last + timedelta(milliseconds=1), f"the recording in {path} reaches")
    before = [account for account in recording.accounts if account.time <= start]
    account = before[-1] if before else recording.accounts[0] if recording.accounts else None
    own = recording.policy_at(start)
    notes = list(recording.problems)
    if own is None:
        notes.append("the recording does not say which policy was in force: NORMAL stands in for it")
    changes = [version for time, version, _ in recording.policies if start < time < end]
    if len(set(changes)) > 1 or (changes and own is not None and recording.policy_at(end) != own):
        notes.append("the policy changed during the recording; the run 'own' keeps the first one throughout")
    if account is not None and account.positions:
        notes.append(
            f"the desk held {account.positions} position(s) at the start; every run starts flat with its equity"
        )
    sides = _sides(options, own, tuple(recording.marks))
    symbols = tuple(sorted(recording.marks))
    market = RecordedMarket(recording, symbols, start, end)
    if market.gaps:
        notes.append(f"{market.gaps} stretch(es) without a recorded price: the price stands still there")
    if any(stop.state.value == "ARMED" and start <= stop.time < end for stop in recording.stops):
        notes.append("a person reset the desk during the recording; the runs do not repeat that (see --auto-reset)")
    name, signals = _signals(options.signals or "journal", recording, symbols, start, end, notes)
    return Scenario(
        source="journal",
        market=lambda: RecordedMarket(recording, symbols, start, end),
        specs=market.specs,
        data=recording.header.data,
        start=start,
        end=end,
        starting_equity=account.equity if account is not None else DEFAULT_ACCOUNT.starting_balance,
        signals_name=name,
        recorded=signals,
        auto_reset=options.auto_reset,
        sides=_restricted(sides, symbols, notes),
        notes=tuple(notes),
        recording=recording,
    )


def _from_market(options: WhatIfOptions) -> Scenario:
    if options.policy is None and options.stop is None and len(options.against) < 2:
        raise DeskInputError("there is nothing to compare: give --policy, --emergency-stop, or both")
    notes: list[str] = []
    names = options.market
    if len(names) == 1 and names[0].partition(":")[0] == "synthetic":
        seed = names[0].partition(":")[2] or "1"
        if not seed.isdecimal():
            raise DeskInputError(f"market {names[0]!r}: the seed must be a whole number, for example synthetic:7")
        start = options.start or SYNTHETIC_START
        end = options.end or start + SYNTHETIC_LENGTH
        _check_order(start, end)
        sides = _sides(options, None, ())
        symbols = tuple(sorted({symbol for side in sides for symbol in side.manifests.policy.spec.symbols}))
        crash_at = start + (end - start) / 3
        source, data = f"synthetic:{int(seed)}", DataKind.SYNTHETIC

        def market() -> Market:
            return SyntheticMarket(int(seed), symbols, start, crash_at=crash_at)
    else:
        files = [Path(name) for name in names]
        start, end = _file_span(options, files)
        replay = ReplayMarket(files, start, end)
        symbols = tuple(Symbol(symbol) for symbol in replay.symbols)
        sides = _sides(options, None, symbols)
        source, data = "files", DataKind.REPLAY

        def market() -> Market:
            return replay

    name, signals = _signals(options.signals or "long", None, symbols, start, end, notes)
    return Scenario(
        source=source,
        market=market,
        specs=tuple(spec_for(symbol) for symbol in symbols),
        data=data,
        start=start,
        end=end,
        starting_equity=DEFAULT_ACCOUNT.starting_balance,
        signals_name=name,
        recorded=signals,
        auto_reset=options.auto_reset,
        sides=_restricted(sides, symbols, notes),
        notes=tuple(notes),
    )


# -------------------------------------------------------------------------------------------------- time


def _file_span(options: WhatIfOptions, files: Sequence[Path]) -> tuple[datetime, datetime]:
    """Start and end inside of what all files have; by default all of it but the first day, which is history."""
    spans = [(candles[0].open_time_ms, candles[-1].close_time_ms + 1) for candles in map(load_candles, files)]
    first, last = to_datetime(max(begin for begin, _ in spans)), to_datetime(min(end for _, end in spans))
    if first >= last:
        raise DeskInputError(f"the files {', '.join(map(str, files))} have no time in common")
    usual = min(first + HISTORY, first + (last - first) / 2)
    if options.start is None:
        options = dataclasses.replace(options, start=usual)
    return _span(options, first, last, "the files together reach")


def _span(options: WhatIfOptions, first: datetime, last: datetime, what: str) -> tuple[datetime, datetime]:
    start, end = options.start or first, options.end or last
    _check_order(start, end)
    if start >= last or end <= first:
        raise DeskInputError(f"{_iso(start)} to {_iso(end)} lies outside: {what} from {_iso(first)} to {_iso(last)}")
    return max(start, first), min(end, last)


def _check_order(start: datetime, end: datetime) -> None:
    if end <= start:
        raise DeskInputError(f"the end, {_iso(end)}, is not after the start, {_iso(start)}: give a later --end")


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# -------------------------------------------------------------------------------------------------- signals


def _signals(
    source: str,
    recording: Recording | None,
    symbols: Iterable[str],
    start: datetime,
    end: datetime,
    notes: list[str],
) -> tuple[str, tuple[Given, ...] | None]:
    """The name to show, and the signals of the span in the order of their times; None for a built-in source."""
    if source in BUILT_IN:
        return source, None
    if source == "journal" and recording is not None:
        found, where = recording.signals, recording.source
    else:
        found, where = read_signals(Path(source), symbols), source
    inside = tuple(given for given in found if start <= given.time <= end)  # a recording may end with a signal
    if not found:
        raise DeskInputError(f"{where}: it holds no signals; give others with --signals FILE, or --signals long")
    if not inside:
        raise DeskInputError(
            f"{where}: its signals reach from {_iso(found[0].time)} to {_iso(found[-1].time)}, the market from "
            f"{_iso(start)} to {_iso(end)}: they have no time in common"
        )
    if len(inside) < len(found):
        notes.append(
            f"{len(found) - len(inside)} of {len(found)} signals are not from {_iso(start)} to {_iso(end)}: left out"
        )
    return (source if source == "journal" else Path(source).name), inside


# -------------------------------------------------------------------------------------------------- policies


def _sides(options: WhatIfOptions, own: DeskManifests | None, symbols: Sequence[str]) -> tuple[Side, ...]:
    """What it is compared with first, the alternative last."""
    base = own or _as_profile(Profile.NORMAL, None, symbols)
    if own is None:
        named = [each for each in (options.policy, *options.against) if each and not _is_profile(each)]
        policies = [load_policy(Path(each)) for each in named if POLICY_KIND in _kinds(Path(each))]
        if policies:
            # A profile beside a file trades what the file trades: only the limits are to differ.
            base = _as_profile(Profile.NORMAL, None, policies[0].spec.symbols)
    sides = [_named(each, base) for each in options.against] or [Side("own" if own else "NORMAL", base)]
    if options.policy is not None or options.stop is not None:
        side = _named(options.policy, base) if options.policy is not None else Side("", base)
        if options.stop is not None:
            name = f"{side.name} with {options.stop.stem}" if side.name else options.stop.stem
            side = Side(name, _joined(side.manifests, None, options.stop))
        sides.append(side)
    names = [side.name for side in sides]
    return tuple(
        Side(side.name if names.count(side.name) == 1 else f"{side.name} ({number})", side.manifests)
        for number, side in enumerate(sides, start=1)
    )


def _named(name: str, base: DeskManifests) -> Side:
    """A profile by its name, or a file with a policy, a stop, or both; the half that it lacks is the base's."""
    if _is_profile(name):
        return Side(name.upper(), _as_profile(Profile(name.upper()), base, base.policy.spec.symbols))
    path = Path(name)
    kinds = _kinds(path)
    policy = path if POLICY_KIND in kinds else None
    stop = path if STOP_KIND in kinds else None
    if policy is None and stop is None:
        load_manifests(path)  # says what is wrong with it
    return Side(path.stem, _joined(base, policy, stop))


def _is_profile(name: str) -> bool:
    return name.upper() in Profile.__members__ and not Path(name).is_file()


def _as_profile(profile: Profile, base: DeskManifests | None, symbols: Sequence[str]) -> DeskManifests:
    """The shipped manifests of ``profile``, for the symbols given (none: its own), with the base's stop if there is one."""
    shipped = load_manifests(profile_file(profile.value))
    spec = msgspec.structs.replace(shipped.policy.spec, symbols=tuple(symbols) or shipped.policy.spec.symbols)
    policy = dataclasses.replace(shipped.policy, spec=spec)
    return _together(dataclasses.replace(shipped, policy=policy, stop=base.stop if base else shipped.stop))


def _joined(base: DeskManifests, policy: Path | None, stop: Path | None) -> DeskManifests:
    return _together(
        DeskManifests(load_policy(policy) if policy else base.policy, load_stop(stop) if stop else base.stop)
    )


def _together(desk: DeskManifests) -> DeskManifests:
    """Two halves belong together whatever they are called. A what-if trades on paper whatever the policy's mode is."""
    reference = msgspec.structs.replace(desk.stop.spec.policy_ref, name=desk.policy.name)
    stop = msgspec.structs.replace(desk.stop.spec.without_requests(), policy_ref=reference)
    spec = msgspec.structs.replace(desk.policy.spec, trading_mode=TradingMode.PAPER)
    return DeskManifests(
        dataclasses.replace(desk.policy, spec=spec),
        dataclasses.replace(desk.stop, namespace=desk.policy.namespace, spec=stop),
    )


def _kinds(path: Path) -> set[str]:
    """The kinds that a manifest file holds, as far as it can be read: only to tell a policy from a stop."""
    if not path.is_file():
        raise DeskInputError(f"{path}: there is no such file; give a manifest, or NORMAL, DEFENSIVE or AGGRESSIVE")
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError:
        return set(re.findall(r"\bkind:\s*(\w+)", text))
    return {str(document.get("kind")) for document in documents if isinstance(document, dict)}


def _restricted(sides: Sequence[Side], symbols: Sequence[str], notes: list[str]) -> tuple[Side, ...]:
    """Only what the market has can be traded."""
    result = []
    for side in sides:
        missing = sorted(set(side.manifests.policy.spec.symbols) - set(symbols))
        if missing:
            notes.append(f"{side.name}: no prices for {', '.join(missing)}; left out")
        result.append(Side(side.name, _together(restricted_to(side.manifests, symbols, extend=False))))
    return tuple(result)
