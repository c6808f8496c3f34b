"""Everything outside of a desk, as one value: real on a laptop, virtual in a simulation."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from breakwater.domain.ids import DeskId
from breakwater.domain.signals import DataKind
from breakwater.exchange.client import Credentials, UsdmClient
from breakwater.paper_venue.config import DEFAULT_ACCOUNT
from breakwater.runtime.bus import Bus
from breakwater.runtime.clocks import Clocks
from breakwater.runtime.ports import KeyValueStore, Volume

PAPER_CREDENTIALS = Credentials(DEFAULT_ACCOUNT.api_key, DEFAULT_ACCOUNT.api_secret)


@dataclass(frozen=True)
class DeskPorts:
    """``bus``, ``disk`` and ``random`` are made per component, by its name; ``client`` per use, with or without keys."""

    desk: DeskId
    clocks: Clocks
    data: DataKind
    kv: KeyValueStore
    bus: Callable[[str], Bus]
    disk: Callable[[str], Volume]
    client: Callable[[Credentials | None], UsdmClient]
    random: Callable[[str], random.Random]
    credentials: Credentials = PAPER_CREDENTIALS
    entropy: Callable[[int], bytes] = secrets.token_bytes
    """So many bytes that nobody can guess, for keys; in simulation drawn from the seed."""
