"""Says on the bus that another policy came into force."""

from __future__ import annotations

from breakwater.runtime.bus import Bus
from breakwater.runtime.clocks import MarketClock
from breakwater.runtime.events import PolicyUpdated
from breakwater.runtime.policy_diff import Change
from breakwater.runtime.policy_store import PolicyChanged, PolicyInForce


def policy_announcer(bus: Bus, clock: MarketClock) -> PolicyChanged:
    """An ``on_change`` for the policy's writer: publishes PolicyUpdated."""

    async def announce(policy: PolicyInForce, changes: tuple[Change, ...]) -> None:
        await bus.publish(
            PolicyUpdated(
                version=policy.version,
                sha256=policy.digest,
                who=policy.who,
                changes=tuple(str(change) for change in changes),
            ),
            time=clock.now(),
        )

    return announce
