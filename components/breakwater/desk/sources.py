"""Signal sources and manifests by the names people give on the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path

import msgspec

from breakwater.ai_engine.source import SignalSource
from breakwater.ai_engine.sources.jsonl import JsonlSource
from breakwater.ai_engine.sources.long import LongSource
from breakwater.ai_engine.sources.momentum import MomentumSource
from breakwater.runtime.clocks import InfraClock
from breakwater.runtime.manifests import DeskManifests, load_manifests, load_policy, load_stop
from breakwater.runtime.resources import profile_file


class DeskInputError(Exception):
    """Something a person named cannot be used; the sentence says what and what to do."""


def signal_source(name: str, infra: InfraClock, *, follow: bool = False) -> SignalSource:
    """``long``, ``momentum``, or the path of a JSON-lines file of signals. Raises DeskInputError."""
    if name == "long":
        return LongSource()
    if name == "momentum":
        return MomentumSource()
    path = Path(name)
    if not path.is_file():
        raise DeskInputError(
            f"signals {name!r}: there is no such file; name long, momentum, or a file with one JSON signal a line"
        )

    def read(offset: int) -> bytes:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read()

    return JsonlSource(str(path), read, infra, follow=follow)


def desk_manifests(*, profile: str | None, policy: Path | None, stop: Path | None) -> DeskManifests:
    """The desk's two resources: from ``policy`` (and ``stop``), else a shipped profile (NORMAL by default).

    A policy file without an EmergencyStop gets the one of the NORMAL profile. Raises DeskInputError, ManifestError.
    """
    if policy is not None and profile is not None:
        raise DeskInputError("give either a profile or a policy file: the file names its profile itself")
    base = profile_file(profile or "NORMAL")
    if not base.is_file():
        raise DeskInputError(f"profile {profile!r} does not exist; choose NORMAL, DEFENSIVE or AGGRESSIVE")
    if policy is None and stop is None:
        return load_manifests(base)
    chosen = load_policy(policy or base)
    if stop is not None:
        chosen_stop = load_stop(stop)
    elif policy is not None and "kind: EmergencyStop" in policy.read_text():
        return load_manifests(policy)
    else:
        chosen_stop = load_stop(base)
    # Two files of one desk belong together whatever they are called.
    reference = msgspec.structs.replace(chosen_stop.spec.policy_ref, name=chosen.name)
    spec = msgspec.structs.replace(chosen_stop.spec, policy_ref=reference)
    return DeskManifests(chosen, dataclasses.replace(chosen_stop, namespace=chosen.namespace, spec=spec))


def restricted_to(manifests: DeskManifests, symbols: Collection[str], *, extend: bool) -> DeskManifests:
    """``manifests`` with only the symbols a market has; with ``extend`` with all of them. Raises DeskInputError if none is left."""
    policy = manifests.policy
    known = set(symbols)
    kept = tuple(sorted(known)) if extend else tuple(s for s in policy.spec.symbols if s in known)
    if not kept:
        raise DeskInputError(
            f"the policy trades {', '.join(policy.spec.symbols)}, but the market has only {', '.join(sorted(known))}"
        )
    spec = msgspec.structs.replace(policy.spec, symbols=kept)
    return dataclasses.replace(manifests, policy=dataclasses.replace(policy, spec=spec))
