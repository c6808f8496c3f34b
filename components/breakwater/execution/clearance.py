"""Why nothing may be opened at this venue although books and account agree: key, clock, change of address, going Live."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import structlog

from breakwater.domain.go_live import GoLiveFacts, go_live_problems
from breakwater.domain.policy import TradingMode
from breakwater.domain.signals import DataKind
from breakwater.execution.stop_lease import StopLeaseBook
from breakwater.runtime.clocks import Clocks
from breakwater.runtime.policy_store import PolicyReader
from breakwater.runtime.ports import Disk, DiskError
from breakwater.runtime.unreadable import UNREADABLE

log = structlog.get_logger(__name__)

GO_LIVE_EVERY_S = 1.0
WENT_LIVE_FILE = "went-live.json"
KEY, CLOCK, VENUE, SWITCH, GO_LIVE = "key", "clock", "venue", "switch", "go-live"
NOT_CHECKED = "the go-live check has not been made yet"


class WentLive(msgspec.Struct, frozen=True):
    """The go-live check was passed; ``at`` is UTC. Kept on disk until the desk runs in another mode."""

    at: str


class Clearance:
    """``trouble`` is the sentence for the gate, empty when nothing is in the way. Exits never ask.

    ``mode`` is what this process was started as; None for a bench without one. Staging and Live begin closed.
    """

    def __init__(self, mode: TradingMode | None, policy: PolicyReader) -> None:
        self.mode = mode
        self._policy = policy
        self._reasons: dict[str, tuple[str, ...]] = {}
        self._text = ""
        self.on_change: Callable[[], None] = lambda: None
        if mode in (TradingMode.STAGING, TradingMode.LIVE):
            self._reasons[KEY] = ("what the API key may do has not been read yet",)
            self._reasons[CLOCK] = ("the venue's clock has not been read yet",)
        if mode is TradingMode.LIVE:
            self._reasons[GO_LIVE] = (NOT_CHECKED,)
        self._compose()

    def set(self, topic: str, *problems: str) -> None:
        """All that is wrong with ``topic`` now; none clears it."""
        if self._reasons.get(topic, ()) == problems:
            return
        self._reasons[topic] = problems
        self._compose()
        (log.warning if problems else log.info)("clearance", topic=topic, problems=list(problems))
        self.on_change()

    def given_but(self, topic: str) -> bool:
        """Whether nothing but ``topic`` is in the way."""
        return not any(problems for name, problems in self._reasons.items() if name != topic)

    def trouble(self) -> str:
        in_force = self._policy.current()
        if self.mode is not None and in_force is not None and in_force.policy.trading_mode is not self.mode:
            wanted = in_force.policy.trading_mode.value
            mismatch = (
                f"the policy says {wanted}, this process was started for {self.mode.value}: start it with "
                "QT_PAPER_TRADING and STAGING_MODE that say the same"
            )
            return f"{mismatch}; {self._text}" if self._text else mismatch
        return self._text

    def _compose(self) -> None:
        self._text = "; ".join(problem for problems in self._reasons.values() for problem in problems)


class GoLive:
    """The check at the transition into Live: passed once, it stays so across restarts until the desk leaves Live."""

    def __init__(
        self,
        clearance: Clearance,
        stop: StopLeaseBook,
        policy: PolicyReader,
        data: DataKind,
        disk: Disk,
        clocks: Clocks,
    ) -> None:
        self._clearance = clearance
        self._stop = stop
        self._policy = policy
        self._data = data
        self._disk = disk
        self._clocks = clocks

    async def run(self) -> None:
        """Returns when the desk is cleared; in another mode than Live at once, with what was passed forgotten."""
        if self._clearance.mode is not TradingMode.LIVE:
            await self._forget()
            return
        if self._passed_before():
            self._clearance.set(GO_LIVE)
            return
        while (problems := go_live_problems(self._facts())) or not self._clearance.given_but(GO_LIVE):
            self._clearance.set(GO_LIVE, *(problems or (NOT_CHECKED,)))  # key, clock and venue come first
            await self._clocks.infra.sleep(GO_LIVE_EVERY_S)
        at = self._clocks.infra.utc_now().isoformat()
        try:
            await self._disk.replace(WENT_LIVE_FILE, msgspec.json.encode(WentLive(at)))
        except DiskError as error:
            log.error("that the desk went Live could not be kept; the next start checks again", error=str(error))
        log.warning("this desk trades Live", since=at)
        self._clearance.set(GO_LIVE)

    def _facts(self) -> GoLiveFacts:
        view, in_force = self._stop.view, self._policy.current()
        return GoLiveFacts(
            stop=view.state if view is not None else None,
            stop_lease_fresh=self._stop.fresh,
            profile=in_force.policy.profile if in_force else None,
            limits=in_force.limits if in_force else None,
            policy_stale=in_force is None or in_force.stale,
            policy_hold=in_force.hold if in_force else "",
            data=self._data,
        )

    def _passed_before(self) -> bool:
        try:
            kept = self._disk.read(WENT_LIVE_FILE)
            return bool(kept) and bool(msgspec.json.decode(kept or b"", type=WentLive).at)
        except (DiskError, *UNREADABLE) as error:
            log.warning("whether this desk went Live before cannot be read: it is checked again", error=str(error))
            return False

    async def _forget(self) -> None:
        try:
            if self._disk.read(WENT_LIVE_FILE):
                await self._disk.replace(WENT_LIVE_FILE, b"")
        except DiskError as error:
            log.error("an earlier go-live check could not be forgotten", error=str(error))
