"""Everything a desk consists of on Kubernetes, in the order in which it is applied."""

from __future__ import annotations

from breakwater_operator.desired.account import service_account
from breakwater_operator.desired.ai_engine import ai_engine
from breakwater_operator.desired.claim import claim
from breakwater_operator.desired.component import Component
from breakwater_operator.desired.dashboard import dashboard
from breakwater_operator.desired.deployment import deployment
from breakwater_operator.desired.emergency_stop import emergency_stop
from breakwater_operator.desired.execution import execution
from breakwater_operator.desired.health_monitor import health_monitor
from breakwater_operator.desired.inputs import DeskFacts, Platform
from breakwater_operator.desired.manifest import Manifest
from breakwater_operator.desired.market_data import market_data
from breakwater_operator.desired.paper_venue import paper_venue
from breakwater_operator.desired.portfolio import portfolio
from breakwater_operator.desired.risk_manager import risk_manager
from breakwater_operator.desired.secret import secret
from breakwater_operator.desired.service import service

BUILDERS = (
    paper_venue,
    market_data,
    ai_engine,
    risk_manager,
    execution,
    portfolio,
    emergency_stop,
    health_monitor,
    dashboard,
)


def components(desk: DeskFacts) -> tuple[Component, ...]:
    """The components this desk has now, in the order of `BUILDERS`."""
    return tuple(component for build in BUILDERS if (component := build(desk)) is not None)


def children(desk: DeskFacts, platform: Platform) -> tuple[Manifest, ...]:
    """All objects of the desk but the policy's ConfigMap, in the order to apply them: the same input, the same bytes.

    What changes where a pod template changes, and with it what restarts (property tests hold this table):

    | change of the policy | restarts |
    |---|---|
    | profile, any limit, signals, day | nothing: the components follow the published policy |
    | symbols among those every synthetic market lists | nothing |
    | another symbol on a synthetic market | the paper venue, which lists it |
    | symbols of a replay | nothing: its files name its symbols |
    | venue.paper | cannot be changed |
    | tradingMode | everything (only possible when flat) |
    | venue.credentialsSecretRef | execution |
    | the stop's name | the dashboard, which prints it |
    | platform: image, log level, address, placement | everything |
    | platform: resources of a component | that component |
    | the operator's own version | nothing |
    """
    parts = components(desk)
    return (
        service_account(desk),
        secret(desk),
        *(claim(desk, part, platform) for part in parts if part.keeps_state),
        *(service(desk, part) for part in parts),
        *(deployment(desk, part, platform) for part in parts),
    )
