"""What the venue saw: its own account and audit, and when each request reached the wire. Never what the desk believes."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

from tests.integration.execution.conftest import BTC, Rig

PROTECTED_WITHIN_S = 2.0
SHUT_OUT_S = 60.0
"""A 403 says that the address is shut out and not for how long: for so long execution does not ask again."""
GRAIN_S = 0.001
ZERO = Decimal(0)


class Judge:
    """Watches one rig from now on."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._naked_since: float | None = None
        self._uncovered: list[tuple[float, float | None]] = []
        """Beginning and end of each time without full cover."""
        self.exits_at: list[float] = []
        """When an exit was tried, whatever became of it."""
        self.kept_away: list[tuple[float, float]] = []
        """Beginning and end of each time in which the venue wanted to hear nothing, by its Retry-After or a 403."""
        rig.core.on_change = self._changed
        deliver = rig.faults.deliver

        def watched(handle: Any, method: str, path: str, query: str, headers: Any, body: bytes, now: Any) -> Any:
            text = body.decode() if isinstance(body, bytes) else str(body)
            if method == "POST" and "-x&" in f"{text}&":
                self.exits_at.append(self._time())
            delivery = deliver(handle, method, path, query, headers, body, now)
            pause_s = delivery.response.headers.get("Retry-After", SHUT_OUT_S if delivery.response.status == 403 else 0)
            self.kept_away.append((self._time(), self._time() + float(pause_s)))
            return delivery

        rig.faults.deliver = watched  # type: ignore[method-assign]

    def _time(self) -> float:
        return self._rig.simulation.loop.time()

    def _changed(self) -> None:
        covered = self._covered()
        if covered and self._naked_since is not None:
            self._uncovered.append((self._naked_since, self._time()))
            self._naked_since = None
        elif not covered and self._naked_since is None:
            self._naked_since = self._time()

    def _covered(self) -> bool:
        held = self._rig.held()
        if held == ZERO:
            return True
        side = "SELL" if held > ZERO else "BUY"
        stops = self._rig.core.ledger.open_algo_orders("paper", BTC)
        return sum((s.quantity for s in stops if s.side == side and s.reduce_only), ZERO) >= abs(held)

    def wrongs(self) -> list[str]:
        """Everything that must never be, now that the venue is quiet."""
        return [*self._unprotected(), *self._duplicates(), *self._books()]

    def _unprotected(self) -> list[str]:
        self._changed()
        times = list(self._uncovered)
        if self._naked_since is not None:
            times.append((self._naked_since, None))
        found = []
        for since, until in times:
            end = self._deadline(since) + GRAIN_S
            if until is not None and until <= end:
                continue
            if not any(since <= at <= end for at in self.exits_at):
                lasted = "to the end" if until is None else f"{until - since:.3f} s"
                found.append(f"from {since:.3f} s on without full cover and no exit tried: {lasted}")
        return found

    def _deadline(self, since: float) -> float:
        """By when it has to be protected; the time that the venue keeps everybody away does not count."""
        end = since + PROTECTED_WITHIN_S
        for begin, over in self.kept_away:
            if begin <= end:
                end = max(end, over)
        return end

    def _duplicates(self) -> list[str]:
        state = self._rig.core.ledger.state
        sent = [record for record in state.audit if record.kind in ("order", "algo")]
        uses = Counter(record.client_order_id for record in sent)
        found = [f"{name} was accepted {count} times" for name, count in uses.items() if count > 1]
        entries = [record for record in sent if record.client_order_id.endswith("-e")]
        if sum((record.filled_qty for record in entries), ZERO) > Decimal("0.120"):
            found.append("more was bought than proposed")
        found += [
            f"{record.client_order_id} is no entry and could have increased risk"
            for record in sent
            if not record.client_order_id.endswith("-e") and record.risk_increasing
        ]
        for symbol_orders, kind in ((self._rig.resting(), "plain"), (self._rig.stops(), "conditional")):
            if len(symbol_orders) > 1:
                found.append(f"{len(symbol_orders)} {kind} orders rest")
        if self._rig.held() == ZERO and (self._rig.resting() or self._rig.stops()):
            found.append("orders are left although the account is flat")
        return found

    def _books(self) -> list[str]:
        books, account = self._rig.service.books, self._rig.core.ledger.state.accounts["paper"]
        found = []
        if not books.reconciled:
            found.append(f"not reconciled: {self._rig.service.parts.reconciler.problem}")
        held = {symbol: position.qty for symbol, position in account.positions.items() if position.qty}
        if books.open_positions() != held:
            found.append(f"the books hold {books.open_positions()}, the venue {held}")
        if books.wallet != account.wallet:
            found.append(f"the books' wallet is {books.wallet}, the venue's {account.wallet}")
        ledger = self._rig.core.ledger
        at_venue = {order.client_order_id for order in ledger.open_orders("paper")}
        at_venue |= {algo.client_algo_id for algo in ledger.open_algo_orders("paper")}
        known = {str(order.client_id) for order in books.working()}
        if at_venue != known:
            found.append(f"the books follow {sorted(known)}, the venue has {sorted(at_venue)}")
        return found

    def ending(self) -> str:
        """Where the account stands, in a word or two."""
        filled = any(
            record.filled_qty for record in self._rig.core.ledger.state.audit if record.client_order_id.endswith("-e")
        )
        if self._rig.held() == ZERO:
            return "flat again" if filled else "never opened"
        parts = ["stop"] if self._rig.stops() else []
        parts += ["target"] if self._rig.resting() else []
        return f"held, with {' and '.join(parts)}" if parts else "held"
