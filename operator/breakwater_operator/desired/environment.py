"""The environment of a component's container (contract 3): names that `breakwater.runtime.settings` knows, and no others."""

from __future__ import annotations

from breakwater.domain.policy import TradingMode
from breakwater_operator.desired.component import Component
from breakwater_operator.desired.inputs import DeskFacts, Platform
from breakwater_operator.desired.labels import component_name, secret_name
from breakwater_operator.desired.manifest import Manifest

HTTP_PORT = 8080
STATE_MOUNT = "/var/lib/breakwater"
SECRET_MOUNT = "/etc/breakwater/desk"
POLICY_MOUNT = "/etc/breakwater/policy"
TOKEN_KEY, API_KEY_KEY, API_SECRET_KEY, REDIS_URL_KEY = "token", "apiKey", "apiSecret", "redisURL"
API_KEY_FILE = f"{SECRET_MOUNT}/{API_KEY_KEY}"
API_SECRET_FILE = f"{SECRET_MOUNT}/{API_SECRET_KEY}"
POLICY_FILE = "policy.json"


def environment(desk: DeskFacts, component: Component, platform: Platform) -> list[Manifest]:
    """``env`` of the container, always in the same order. Nothing that a change of limits or profile touches is in it."""
    policy = desk.policy
    shared = [
        # Before the address, which may refer to it.
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}},
        _value("BREAKWATER_DESK", desk.id),
        _value("BREAKWATER_STATE_DIR", f"{STATE_MOUNT}/{desk.id}"),
        _value("BREAKWATER_HTTP_HOST", platform.bind_address),
        _value("BREAKWATER_HTTP_PORT", str(HTTP_PORT)),
        _value("BREAKWATER_LOG_FORMAT", "json"),
        _value("BREAKWATER_LOG_LEVEL", platform.log_level),
        _value("QT_PAPER_TRADING", _boolean(policy.trading_mode is TradingMode.PAPER)),
        _value("STAGING_MODE", _boolean(policy.trading_mode is TradingMode.STAGING)),
        _value("QT_EXECUTION_EXCHANGE", policy.venue.exchange.value),
        _value("QT_MARKET_TYPE", policy.venue.market_type.value),
    ]
    own = [_value(name, value) for name, value in component.environment]
    return [*shared, *(_of_the_desk(desk) if component.on_the_desk else []), *own]


def _of_the_desk(desk: DeskFacts) -> list[Manifest]:
    """What every component but the venue itself gets: store, token, policy, and where the simulated venue is."""
    found: list[Manifest] = [
        {
            "name": "REDIS_URL",
            "valueFrom": {"secretKeyRef": {"name": secret_name(desk.name), "key": REDIS_URL_KEY}},
        },
        _value("BREAKWATER_TOKEN_FILE", f"{SECRET_MOUNT}/{TOKEN_KEY}"),
        _value("BREAKWATER_POLICY_MIRROR", f"{POLICY_MOUNT}/{POLICY_FILE}"),
    ]
    if desk.on_paper:
        venue = f"{component_name(desk.name, 'paper_venue')}.{desk.namespace}.svc"
        found.append(_value("BREAKWATER_VENUE_URL", f"http://{venue}:{HTTP_PORT}"))
        market = desk.policy.venue.paper
        if market is not None and (market.is_replay or market.speed != 1):
            found.append(_value("BREAKWATER_CLOCK", "venue"))
    return found


def _value(name: str, value: str) -> Manifest:
    return {"name": name, "value": value}


def _boolean(value: bool) -> str:
    return "true" if value else "false"
