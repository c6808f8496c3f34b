"""The paper venue: the simulated exchange of a desk that trades on paper."""

from __future__ import annotations

from datetime import UTC, datetime

from breakwater.desk.market import LISTED
from breakwater.domain.money import plain
from breakwater.domain.policy import PaperMarket
from breakwater_operator.desired.component import Component
from breakwater_operator.desired.inputs import DeskFacts

DATA_DIR = "/data"


def paper_market(desk: DeskFacts) -> PaperMarket:
    """The market of a desk on paper; a synthetic one at wall time when nothing is asked for."""
    return desk.policy.venue.paper or PaperMarket()


def paper_venue(desk: DeskFacts) -> Component | None:
    """Only on paper. The account is the desk's money, so it lies on a claim."""
    if not desk.on_paper:
        return None
    market = paper_market(desk)
    environment = [("BREAKWATER_MARKET", _source(market)), ("BREAKWATER_SPEED", plain(market.speed))]
    if market.start is not None:
        environment.append(("BREAKWATER_MARKET_START", _moment(market.start)))
    if market.crash_after_minutes is not None:
        environment.append(("BREAKWATER_CRASH_AFTER_MINUTES", str(market.crash_after_minutes)))
    # The usual ones are listed anyway: naming them here would restart the venue when a policy drops one.
    others = sorted(set(desk.policy.symbols) - set(LISTED))
    if others and not market.is_replay:
        environment.append(("BREAKWATER_SYMBOLS", ",".join(others)))
    return Component(
        "paper_venue",
        memory_mib=96,
        cpu_millicores=50,
        keeps_state=True,
        on_the_desk=False,
        environment=tuple(environment),
        data_claim=market.data_claim_ref.name if market.data_claim_ref else None,
    )


def _source(market: PaperMarket) -> str:
    """The market as the venue's process finds it: files of a replay lie on the mounted claim."""
    if not market.is_replay:
        return market.market
    files = market.market.removeprefix("replay:").split(",")
    return "replay:" + ",".join(f"{DATA_DIR}/{file}" for file in files)


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
