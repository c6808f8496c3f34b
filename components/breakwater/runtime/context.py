"""What a component gets handed in. Nothing in a component reaches outside of this."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from breakwater.domain.ids import DeskId
from breakwater.domain.signals import DataKind
from breakwater.runtime.bus import Bus
from breakwater.runtime.clocks import Clocks
from breakwater.runtime.policy_store import PolicyReader
from breakwater.runtime.ports import Disk


@dataclass(frozen=True)
class ComponentContext:
    """The outside world of one component of one desk."""

    desk: DeskId
    clocks: Clocks
    bus: Bus
    """Bound to this desk and component."""
    disk: Disk
    """This component's own volume: nobody else writes there."""
    policy: PolicyReader
    """The policy in force; ``current()`` is synchronous, cached and age-checked."""
    data: DataKind
    """What kind of market data this desk sees; put on every signal's provenance."""
    random: random.Random = field(default_factory=lambda: random.Random(0))
    """Seeded by whoever assembles the desk; for jitter only, never for ids."""
