"""Makes a live object say what is desired, with as few writes as possible, and never one that belongs to somebody else."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterable, Mapping
from typing import Any

import structlog

from breakwater_operator.cluster.api import Api, address_of
from breakwater_operator.cluster.drift import desired_hash, differs, for_apply, merged_for_replace
from breakwater_operator.cluster.errors import Conflict, NotFound
from breakwater_operator.cluster.kinds import CLAIM, TRADING_POLICY, UNREAD, Kind
from breakwater_operator.desired.labels import MANAGED_BY, MANAGED_BY_LABEL, POLICY_UID_ANNOTATION
from breakwater_operator.desired.manifest import Manifest
from breakwater_operator.store import Store, version_of

log = structlog.get_logger(__name__)

Address = tuple[Kind, str, str]


class NotOurs(Exception):
    """An object of that name exists and was made by somebody else; the sentence says what to do."""


class Leaving(Exception):
    """The object of that name is being deleted: it can be made anew once it is gone."""


class Applied(enum.Enum):
    """What `Applier.apply` did."""

    SAME = enum.auto()
    """Nothing had to be written."""
    WRITTEN = enum.auto()
    """Made, or changed because something else is desired now."""
    RESTORED = enum.auto()
    """Put back: it was right before, and somebody else changed or deleted it."""


class Applier:
    """Server-side apply of what differs. Remembers what it wrote, so that a field the API server puts otherwise is not fought over."""

    def __init__(self, api: Api, objects: Store) -> None:
        self._api, self._objects = api, objects
        self._right: dict[Address, tuple[str, int]] = {}
        """By object: hash of what was desired, and the resourceVersion at which it was as right as it gets."""

    async def apply(self, desired: Manifest, *, uid: str) -> Applied:
        """Make it so for the policy with this ``uid``. Raises NotOurs, Leaving, and as `Api` does."""
        kind, namespace, name = address = address_of(desired)
        hashed = desired_hash(desired)
        known = self._right.get(address)
        if kind in UNREAD:
            if known is not None and known[0] == hashed:
                return Applied.SAME
            # Somebody else's Secret of that name would get our content, and go with the policy.
            if await self._api.has_label(kind, namespace, name, MANAGED_BY_LABEL, MANAGED_BY) is False:
                raise NotOurs(_taken(kind, namespace, name))
            await self._api.apply(desired)
            self._right[address] = (hashed, 0)
            return Applied.WRITTEN
        live = self._objects.get(kind, namespace, name)
        if live is None:
            # The watch shows only what carries our label.
            live = await self._api.get(kind, namespace, name)
        if live is not None:
            await self._check_owner(live, uid, address)
            if known == (hashed, version_of(live)):
                return Applied.SAME
            if differs(live, desired) is None:
                self._right[address] = (hashed, version_of(live))
                self._objects.put(kind, live)
                return Applied.SAME
        await self._write(live, desired, address, hashed)
        return Applied.RESTORED if known is not None and known[0] == hashed else Applied.WRITTEN

    def forget_unread(self, namespace: str = "") -> None:
        """Write Secrets and ServiceAccounts (of one namespace) anew the next time: nobody sees when they were changed."""
        for address in [a for a in self._right if a[0] in UNREAD and namespace in ("", a[1])]:
            del self._right[address]

    def forget(self, addresses: Iterable[Address]) -> None:
        """The policy that they were written for is gone."""
        for address in addresses:
            self._right.pop(address, None)

    async def _write(self, live: Mapping[str, Any] | None, desired: Manifest, address: Address, hashed: str) -> None:
        kind, namespace, name = address
        now = await self._api.apply(for_apply(live, desired))
        left = differs(now, desired)
        if left is not None:
            # Server-side apply leaves what others added; a PUT does not.
            try:
                now = await self._api.replace(merged_for_replace(now, desired))
            except Conflict:
                # A controller wrote its status in between.
                now = await self._api.get(kind, namespace, name) or now
                now = await self._api.replace(merged_for_replace(now, desired))
            left = differs(now, desired)
            if left is not None:
                log.info("the API server keeps it otherwise", kind=kind.name, namespace=namespace, name=name, path=left)
        self._objects.put(kind, now)
        self._right[address] = (hashed, version_of(now))

    async def _check_owner(self, live: Mapping[str, Any], uid: str, address: Address) -> None:
        kind, namespace, name = address
        metadata = live["metadata"]
        if metadata.get("deletionTimestamp"):
            raise Leaving(f"{kind.name} {name} is being deleted; it is made anew once it is gone")
        controllers = [ref for ref in metadata.get("ownerReferences") or [] if ref.get("controller")]
        owners = [ref.get("uid") for ref in controllers]
        labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
        ours = labels.get(MANAGED_BY_LABEL) == MANAGED_BY or uid in owners
        # Our labels are easily copied: what another controller made is not ours to delete.
        foreign = any(ref.get("kind") != TRADING_POLICY.name for ref in controllers)
        if foreign or (not ours and annotations.get(POLICY_UID_ANNOTATION) != uid):
            raise NotOurs(_taken(kind, namespace, name))
        if owners and uid not in owners and kind is not CLAIM:
            # Of a policy of the same name that is gone: an object can have only one controller.
            with contextlib.suppress(NotFound):
                await self._api.delete(kind, namespace, name, uid=metadata["uid"])
            raise Leaving(f"{kind.name} {name} belongs to a policy that was deleted; it is made anew once it is gone")


def _taken(kind: Kind, namespace: str, name: str) -> str:
    return (
        f"{kind.name} {name} exists already and was not made for this policy: "
        f"give the policy another name, or delete it with kubectl -n {namespace} delete {kind.plural} {name}"
    )
