"""What others ship for the same job, measured in the same run: nautilus_trader's RiskEngine, freqtrade's MaxDrawdown."""

from __future__ import annotations

import gc
import random
import statistics
import time
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

from msgspec.structs import replace
from tests.benchmarks.harness import Bench, higher, lower, quantile, timed, undisturbed
from tests.benchmarks.peers.process import Peer
from tests.benchmarks.peers.venvs import FREQTRADE, NAUTILUS
from tests.benchmarks.samples import BTC, ENTRY, FACTS, LIMITS, NOW, POLICY, STOP_SPEC

from breakwater.domain import emergency_stop as machine
from breakwater.domain.gate import Approval, decide
from breakwater.domain.ids import ProposalId, Symbol, TradeId
from breakwater.domain.ledger import Fill, Ledger
from breakwater.domain.money import plain
from breakwater.domain.orders import Proposal
from breakwater.domain.stop_memory import Latched, Memory
from breakwater.domain.stop_rules import stop_rules
from breakwater.domain.stop_state import StopState
from breakwater.domain.valuation import Baseline, Mark, value

ROUNDS = 20
BLOCK = 500
RULES = stop_rules(STOP_SPEC, LIMITS, POLICY.trading_mode)
PEER_RULES = {"symbol": "BTCUSDT", "tick": "0.1", "step": "0.001", "most": "1000", "min_notional": "100"}
PEER_ENTRY = {
    "side": "BUY",
    "quantity": "0.120",
    "type": "LIMIT",
    "price": "100500.0",
    "force": "IOC",
    "reduce_only": False,
}


# ------------------------------------------------------------------------------------------------ the gate


def gate_against_nautilus() -> dict[str, float]:
    """The same entry, approved by both: blocks in turn, each with orders that were built before."""
    ours: list[list[float]] = []
    cash: list[list[float]] = []
    margin: list[list[float]] = []
    with Peer(NAUTILUS) as peer:

        def theirs(account: str) -> list[float]:
            taken: list[float] = peer.ask(
                "block",
                account=account,
                rules=PEER_RULES,
                order=PEER_ENTRY,
                price=plain(FACTS.mark or Decimal(0)),
                max_notional=plain(LIMITS.max_order_notional_usd.value),
                n=BLOCK,
            )
            return taken

        for number in range(ROUNDS + 1):
            blocks = _our_block(number), theirs("cash"), theirs("margin")
            if number:  # the first of each only warms up
                for kept, block in zip((ours, cash, margin), blocks, strict=True):
                    kept.append(block)
    return {
        "gate.decisions_against_nautilus": _seconds(cash) / _seconds(ours),
        "gate.p99_against_nautilus": undisturbed(cash, 0.99) / undisturbed(ours, 0.99),
        "gate.decisions_against_nautilus_unchecked": _seconds(margin) / _seconds(ours),
    }


def _our_block(number: int) -> list[float]:
    proposals: list[Proposal] = [replace(ENTRY, proposal_id=ProposalId(f"p{number}.{n}")) for n in range(BLOCK)]
    verdicts, taken, clock = [], [], time.perf_counter
    gc.collect()  # as the peer does: what building the orders left behind is not the gate's to pay for
    for proposal in proposals:
        began = clock()
        verdict = decide(proposal, FACTS)
        taken.append(clock() - began)
        verdicts.append(verdict)
    assert all(isinstance(verdict, Approval) for verdict in verdicts)
    return taken


def _seconds(blocks: list[list[float]]) -> float:
    """Of a block; over blocks the lower quartile, which are those that nothing else on the machine came between."""
    return quantile([sum(block) for block in blocks], 0.25)


# ------------------------------------------------------------------------------------------------ drawdown

SYMBOLS = [Symbol(f"COIN{n:02}USDT") for n in range(20)]
PAST = 5_000
SHORT_PAST = 50


class Desk:
    """A desk with ``past`` closed trades and twenty open positions: a mark comes in, the stop judges it."""

    def __init__(self, past: int, mark: str = "100") -> None:
        self.ledger = Ledger()
        self.ledger.adopt(Decimal(14_000), (), {})
        for n in range(past):
            for leg, quantity in enumerate((Decimal(7), Decimal(-7))):
                price = Decimal(100) + (Decimal("0.01") if (n + leg) % 2 else Decimal(0))
                self._fill(SYMBOLS[n % 20], 2 * n + leg, quantity, price)
        for n, symbol in enumerate(SYMBOLS):
            self._fill(symbol, 2 * past + n, Decimal(7), Decimal(100))
        self.marks = {symbol: Mark(Decimal(mark), NOW) for symbol in SYMBOLS}
        self.baseline = Baseline(NOW.date(), self.ledger.wallet)
        self.sequence = 0
        self.memory: Memory = machine.on_rules(machine.started(Latched(), NOW), None, RULES, NOW).memory

    def _fill(self, symbol: Symbol, number: int, quantity: Decimal, price: Decimal) -> None:
        self.ledger.record(Fill(symbol, TradeId(str(number + 1)), quantity, price, Decimal("0.01"), NOW, 10))

    def evaluate(self) -> StopState:
        """From a new mark to the stop's verdict: value all positions, measure drawdown and open loss, judge."""
        self.sequence += 1
        at = NOW + timedelta(seconds=self.sequence)
        self.marks[SYMBOLS[self.sequence % 20]] = replace(self.marks[SYMBOLS[self.sequence % 20]], time=at)
        snapshot = value(self.ledger, self.marks, self.baseline, sequence=self.sequence, time=at, reconciled=True)
        self.memory = machine.on_snapshot(self.memory, snapshot, RULES, at).memory
        return self.memory.latched.state


def drawdown_against_freqtrade() -> dict[str, float | str]:
    desk = Desk(PAST)
    assert len(desk.ledger.positions) == 20
    ours: list[float] = []
    theirs: list[float] = []
    with Peer(FREQTRADE) as peer:
        for _ in range(2):
            ours += [timed(desk.evaluate) for _ in range(BLOCK)]
            theirs += peer.ask("drawdown", closed=PAST, open_trades=20, rounds=4)[1:]
            ours += [timed(desk.evaluate) for _ in range(BLOCK)]
        assert desk.memory.latched.state is StopState.ARMED
        blind = not peer.ask("open_losers", closed=10, open_trades=20, loss=0.5)
    losing = Desk(10, mark="50")
    for _ in range(3):
        losing.evaluate()
    assert losing.memory.latched.state is StopState.TRIPPED
    seen = "does not see" if blind else "stops at"
    return {
        "stop.drawdown_against_freqtrade": statistics.median(theirs) / statistics.median(ours),
        "against": f"MaxDrawdown of freqtrade {FREQTRADE.version}, {PAST} closed trades; it {seen} 20 open trades at -50 %, we trip",
    }


def drawdown_flat_in_history() -> dict[str, float]:
    long, short = Desk(PAST), Desk(SHORT_PAST)
    ratios = []
    for _ in range(ROUNDS):
        many = statistics.median([timed(long.evaluate) for _ in range(100)])
        few = statistics.median([timed(short.evaluate) for _ in range(100)])
        ratios.append(many / few)
    return {"stop.drawdown_flat_in_history": statistics.median(ratios)}


# ------------------------------------------------------------------------------------------------ the ledger

FILLS = 5_000
FINAL_MARK = Decimal("60123.4")


def _trades(*, flips: bool) -> list[tuple[str, str, str]]:
    """Side, quantity and price of fills that grow and shrink a position; with ``flips`` they also close and turn it."""
    source = random.Random(4)
    price, held = Decimal(60_000), Decimal(0)
    trades = []
    for _ in range(FILLS):
        price = max(Decimal(1_000), price + Decimal(source.randint(-500, 500)) / 10)
        quantity = Decimal(source.randint(1, 2_000)) / 1000
        side = source.choice(("BUY", "SELL"))
        if not flips and held - quantity <= 0:
            side = "BUY"
        held += quantity if side == "BUY" else -quantity
        trades.append((side, f"{quantity:.3f}", f"{price:.1f}"))
    return trades


def _folded(trades: list[tuple[str, str, str]]) -> tuple[float, Decimal]:
    fills = [
        Fill(BTC, TradeId(str(n + 1)), Decimal(q) if side == "BUY" else -Decimal(q), Decimal(p), Decimal(0), NOW)
        for n, (side, q, p) in enumerate(trades)
    ]
    ledger = Ledger()
    ledger.adopt(Decimal(0), (), {})

    def fold() -> None:
        for fill in fills:
            ledger.record(fill)

    gc.collect()
    spent = timed(fold)
    held = ledger.positions.get(BTC)
    return spent / len(fills), ledger.realised + (held.unrealised_pnl(FINAL_MARK) if held else Decimal(0))


def _exact(trades: list[tuple[str, str, str]]) -> Fraction:
    """What all of it is worth in the end: cash out and in, and what is held at the last mark. No averages, no rounding."""
    cash = held = Fraction(0)
    for side, quantity, price in trades:
        signed = Fraction(quantity) if side == "BUY" else -Fraction(quantity)
        held += signed
        cash -= signed * Fraction(price)
    return cash + held * Fraction(FINAL_MARK)


def fills_against_fractions() -> dict[str, float]:
    trades = _trades(flips=True)
    _, pnl = _folded(trades)
    return {"pnl.error_against_fractions": float(abs(Fraction(pnl) - _exact(trades)))}


def fills_against_nautilus() -> dict[str, float | str]:
    trades = _trades(flips=False)  # its execution engine splits a fill that flips before a position sees it
    ratios = []
    with Peer(NAUTILUS) as peer:
        for _ in range(5):
            spent, _ = _folded(trades)
            their_spent, their_pnl = peer.ask("fills", rules=PEER_RULES, trades=trades, mark=plain(FINAL_MARK))
            ratios.append(spent / their_spent)
    off = float(abs(Fraction(their_pnl) - _exact(trades)))
    return {
        "pnl.fill_against_nautilus": statistics.median(ratios),
        "against": f"Position.apply of nautilus_trader {NAUTILUS.version}, whose PnL after {FILLS} fills is off by {off:.1e} USDT",
    }


RISK_ENGINE = f"RiskEngine.execute of nautilus_trader {NAUTILUS.version}"
BENCHES = [
    Bench(
        (
            higher("gate.decisions_against_nautilus", 1, 2, f"{RISK_ENGINE}, cash account, its checks on"),
            higher("gate.p99_against_nautilus", 1, 2, f"{RISK_ENGINE}, cash account, its checks on"),
            higher(
                "gate.decisions_against_nautilus_unchecked", 0, 1, f"{RISK_ENGINE}, margin account: it checks little"
            ),
        ),
        gate_against_nautilus,
        3,
    ),
    Bench(
        (higher("stop.drawdown_against_freqtrade", 1_000, 5_000, "MaxDrawdown of freqtrade"),),
        drawdown_against_freqtrade,
        1,
    ),
    Bench(
        (lower("stop.drawdown_flat_in_history", 1.5, 1.1, f"the same with {SHORT_PAST} past trades, not {PAST}"),),
        drawdown_flat_in_history,
        3,
    ),
    Bench(
        (lower("pnl.error_against_fractions", 0, 0, "USDT off an exact-fraction oracle"),), fills_against_fractions, 1
    ),
    Bench((lower("pnl.fill_against_nautilus", 20, 5, "Position.apply of nautilus_trader"),), fills_against_nautilus, 1),
]
