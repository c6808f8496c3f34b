"""What the paper venue lists and charges, and who may trade on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Bracket:
    """One notional tier: up to `cap` USDT, at most `leverage`, maintenance margin `ratio` (a fraction)."""

    cap: Decimal
    leverage: int
    ratio: Decimal


def _brackets(*rows: tuple[str, int, str]) -> tuple[Bracket, ...]:
    return tuple(Bracket(Decimal(cap), leverage, Decimal(ratio)) for cap, leverage, ratio in rows)


MAJOR_BRACKETS = _brackets(
    ("300000", 125, "0.004"),
    ("800000", 100, "0.005"),
    ("3000000", 75, "0.0065"),
    ("12000000", 50, "0.01"),
    ("70000000", 25, "0.02"),
    ("100000000", 20, "0.025"),
    ("230000000", 10, "0.05"),
    ("480000000", 5, "0.1"),
)
MINOR_BRACKETS = _brackets(
    ("10000", 75, "0.0065"),
    ("60000", 50, "0.01"),
    ("300000", 25, "0.02"),
    ("1500000", 20, "0.025"),
    ("3000000", 10, "0.05"),
    ("7500000", 5, "0.1"),
)


@dataclass(frozen=True, slots=True)
class SymbolSpec:
    """A perpetual's trading rules: prices in USDT, quantities in base units, multipliers as fractions."""

    symbol: str
    base: str
    tick_size: Decimal
    step_size: Decimal
    min_notional: Decimal = Decimal(5)
    min_price: Decimal = Decimal("0.0001")
    max_price: Decimal = Decimal(10_000_000)
    max_qty: Decimal = Decimal(10_000_000)
    market_max_qty: Decimal = Decimal(5_000_000)
    multiplier_up: Decimal = Decimal("1.0500")
    multiplier_down: Decimal = Decimal("0.9500")
    brackets: tuple[Bracket, ...] = MINOR_BRACKETS
    liquidity: Decimal = Decimal(1_000_000)
    """USDT that rest within 0.1 % of the last price on each side of the book."""
    status: str = "TRADING"
    """Anything else: listed, and takes no orders."""

    @property
    def min_qty(self) -> Decimal:
        return self.step_size

    @property
    def price_decimals(self) -> int:
        return _decimals(self.tick_size)

    @property
    def quantity_decimals(self) -> int:
        return _decimals(self.step_size)


def _decimals(step: Decimal) -> int:
    exponent = step.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _spec(
    symbol: str,
    tick: str,
    step: str,
    min_notional: str,
    max_qty: str,
    market_max_qty: str,
    brackets: tuple[Bracket, ...] = MINOR_BRACKETS,
    liquidity: str = "1000000",
) -> SymbolSpec:
    return SymbolSpec(
        symbol=symbol,
        base=symbol.removesuffix("USDT"),
        tick_size=Decimal(tick),
        step_size=Decimal(step),
        min_notional=Decimal(min_notional),
        min_price=Decimal(tick),
        max_qty=Decimal(max_qty),
        market_max_qty=Decimal(market_max_qty),
        brackets=brackets,
        liquidity=Decimal(liquidity),
    )


# Shaped like the exchange's own filters for these contracts; a live venue's exchangeInfo is always the authority.
KNOWN_SYMBOLS: Mapping[str, SymbolSpec] = {
    spec.symbol: spec
    for spec in (
        _spec("BTCUSDT", "0.10", "0.001", "100", "1000", "120", MAJOR_BRACKETS, "15000000"),
        _spec("ETHUSDT", "0.01", "0.001", "20", "10000", "2000", MAJOR_BRACKETS, "10000000"),
        _spec("SOLUSDT", "0.001", "0.01", "5", "1000000", "80000", MAJOR_BRACKETS, "4000000"),
        _spec("BNBUSDT", "0.010", "0.01", "5", "100000", "2000"),
        _spec("XRPUSDT", "0.0001", "0.1", "5", "10000000", "2000000"),
        _spec("ADAUSDT", "0.0001", "1", "5", "2000000", "300000"),
        _spec("DOGEUSDT", "0.00001", "1", "5", "50000000", "30000000"),
        _spec("LTCUSDT", "0.01", "0.001", "20", "10000", "5000"),
        _spec("BCHUSDT", "0.01", "0.001", "20", "10000", "850"),
        _spec("ETCUSDT", "0.001", "0.01", "20", "450000", "50000"),
        _spec("TRXUSDT", "0.00001", "1", "5", "10000000", "5000000"),
        _spec("XLMUSDT", "0.00001", "1", "5", "10000000", "1000000"),
        _spec("DOTUSDT", "0.001", "0.1", "5", "1000000", "50000"),
        _spec("AVAXUSDT", "0.001", "1", "5", "100000", "5000"),
        _spec("ATOMUSDT", "0.001", "0.01", "5", "100000", "8000"),
        _spec("AAVEUSDT", "0.010", "0.1", "5", "50000", "1000"),
        _spec("SANDUSDT", "0.00001", "1", "5", "2000000", "300000"),
        _spec("CHZUSDT", "0.00001", "1", "5", "10000000", "3000000"),
        _spec("CRVUSDT", "0.001", "0.1", "5", "2500000", "400000"),
        _spec("ZECUSDT", "0.01", "0.001", "5", "10000", "300"),
        _spec("LINKUSDT", "0.001", "0.01", "20", "100000", "20000"),
    )
}


def spec_for(symbol: str) -> SymbolSpec:
    """Trading rules of a symbol; a general set for contracts not in the table.

    Raises ValueError for names that are not a USDT perpetual.
    """
    known = KNOWN_SYMBOLS.get(symbol)
    if known is not None:
        return known
    if not symbol.endswith("USDT") or not symbol.isalnum() or symbol != symbol.upper() or symbol == "USDT":
        raise ValueError(f"symbol {symbol!r} is not a USDT perpetual: write it like BTCUSDT")
    return _spec(symbol, "0.0001", "0.1", "5", "10000000", "1000000")


class Fills(StrEnum):
    """Where fills come from."""

    FULL = "full"
    """Everything at once, at the last price and a slippage."""
    BOOK = "book"
    """What a book of limited depth offers."""


@dataclass(frozen=True, slots=True)
class AccountConfig:
    """One trading account. `name` is its stable identity in the state file; keys may change.

    What the key may do and from where is told by GET /sapi/v1/account/apiRestrictions; without `enable_futures` the key is refused
    on every futures path.
    """

    name: str
    api_key: str
    api_secret: str
    starting_balance: Decimal = Decimal(14000)
    ip_restrict: bool = True
    enable_withdrawals: bool = False
    enable_futures: bool = True

    def __repr__(self) -> str:
        return f"AccountConfig(name={self.name!r}, starting_balance={self.starting_balance})"


DEFAULT_ACCOUNT = AccountConfig("paper", "paper-key", "paper-secret")


@dataclass(frozen=True, slots=True)
class VenueConfig:
    """Rates are fractions: 0.0005 is 0.05 %."""

    symbols: tuple[SymbolSpec, ...] = field(
        default_factory=lambda: tuple(KNOWN_SYMBOLS[s] for s in ("BTCUSDT", "ETHUSDT", "SOLUSDT"))
    )
    accounts: tuple[AccountConfig, ...] = (DEFAULT_ACCOUNT,)
    taker_fee: Decimal = Decimal("0.0005")
    maker_fee: Decimal = Decimal("0.0002")
    slippage: Decimal = Decimal("0.0005")
    """Of takers without a book."""
    fills: Fills = Fills.FULL
    book_seed: int = 1
    """Two venues with the same seed show the same quantities at the same prices."""
    liquidation_fee: Decimal = Decimal("0.0125")
    funding_rate: Decimal = Decimal("0.0001")
    """Paid by longs to shorts at each funding instant; 0 turns funding off."""
    funding_interval_ms: int = 8 * 3600 * 1000
    """Funding instants are its multiples since 1970: 00, 08 and 16 UTC for eight hours."""
    default_leverage: int = 20
    weight_limit_per_minute: int = 2400
    ban_after_refusals: int = 10
    """Requests answered 429 in one minute before the next one is answered 418 and the address is banned."""
    order_limit_per_10s: int = 300
    order_limit_per_minute: int = 1200
    max_open_orders: int = 200
    max_open_algo_orders: int = 200
    listen_key_life_ms: int = 60 * 60 * 1000
    countdown_cancels_algo_orders: bool = False
    """Whether the dead-man switch also cancels algo orders: undocumented, so both can be simulated."""

    def __post_init__(self) -> None:
        if self.funding_interval_ms <= 0:
            raise ValueError(f"the funding interval must be positive, is {self.funding_interval_ms} ms")
        if not self.accounts:
            raise ValueError("the paper venue needs at least one account")
        for label, values in (
            ("account name", [a.name for a in self.accounts]),
            ("API key", [a.api_key for a in self.accounts]),
            ("symbol", [s.symbol for s in self.symbols]),
        ):
            if len(set(values)) != len(values):
                raise ValueError(f"the paper venue has the same {label} twice")
