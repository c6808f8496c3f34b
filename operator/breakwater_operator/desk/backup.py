"""The ConfigMap that carries a desk's policy, as the disk that the policy store keeps its backup on.

Whoever may write ConfigMaps could put anything there. So it is read once, when the operator gets to know the desk, and
counts only when the policy's status has its digest; after that what the operator wrote last holds. Whatever else is found
there is overwritten, under a version above its own: a component may have read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from breakwater.runtime.policy_copy import BadCopy, decode_copy
from breakwater.runtime.policy_store import BACKUP_FILE
from breakwater.runtime.ports import DiskError
from breakwater_operator.cluster.api import Api
from breakwater_operator.cluster.errors import ApiError, ApiUnavailable
from breakwater_operator.cluster.kinds import CONFIG_MAP, TRADING_POLICY
from breakwater_operator.desired.labels import MANAGED_BY, MANAGED_BY_LABEL
from breakwater_operator.store import Store

log = structlog.get_logger(__name__)

BELIEVABLE = 2**52
"""No desk gets so far by counting: a higher version was forged, and counting on from it would soon reach the end."""


def believable(version: int | None) -> int:
    """``version`` when it can be one that was given out, else 0."""
    return version if version is not None and 0 < version <= BELIEVABLE else 0


class ConfigMapDisk:
    """A `Disk` of one file. ``manifest`` is the ConfigMap without its data."""

    def __init__(self, api: Api, objects: Store, manifest: Mapping[str, Any]) -> None:
        self._api, self._objects, self._manifest = api, objects, manifest
        self._content: bytes | None = None
        self._loaded = False
        self.floor = 0
        """Version of a copy that was found and does not count; 0: there was none."""

    async def load(self, version: int, digest: str) -> None:
        """Read what is there, the first time only; ``version`` and ``digest`` are the policy's status'. Raises DiskError."""
        if self._loaded:
            return
        metadata = self._manifest["metadata"]
        try:
            found = await self._api.get(CONFIG_MAP, metadata["namespace"], metadata["name"])
        except (ApiError, ApiUnavailable) as error:
            raise DiskError(str(error)) from error
        there = (found or {}).get("metadata", {})
        owners = there.get("ownerReferences") or []
        owner = [ref.get("uid") for ref in owners]
        labelled = (there.get("labels") or {}).get(MANAGED_BY_LABEL) == MANAGED_BY
        foreign = not labelled or any(ref.get("kind") != TRADING_POLICY.name for ref in owners)
        if found is not None and foreign and metadata["ownerReferences"][0]["uid"] not in owner:
            raise DiskError(
                f"ConfigMap {metadata['name']} exists already and was not made for this policy: give the policy "
                f"another name, or delete it with kubectl -n {metadata['namespace']} delete cm {metadata['name']}"
            )
        # A policy that was made anew is a new desk: the old one's copy says nothing about it.
        if found is not None and metadata["ownerReferences"][0]["uid"] in owner:
            text = (found.get("data") or {}).get(BACKUP_FILE)
            self._content = self._believed(text.encode(), version, digest) if isinstance(text, str) else None
        self._loaded = True

    def _believed(self, data: bytes, version: int, digest: str) -> bytes | None:
        try:
            copy = decode_copy(data)
        except BadCopy as error:
            said, self.floor = str(error), believable(error.claimed_version)
        else:
            if copy.version <= version and copy.content_digest == digest:
                return data
            said, self.floor = "it is not what the policy's status says was published last", believable(copy.version)
        log.warning("the policy's copy in its ConfigMap does not count", reason=said, **_where(self._manifest))
        return None

    def holds(self, live: Mapping[str, Any] | None) -> bool:
        """Whether the ConfigMap as last seen is what was written last."""
        if self._content is None:
            return True
        if live is None:
            return False
        metadata = live["metadata"]
        ours = self._manifest["metadata"]
        return (
            (live.get("data") or {}) == {BACKUP_FILE: self._content.decode()}
            and not live.get("binaryData")
            and ours["labels"].items() <= (metadata.get("labels") or {}).items()
        )

    async def restore(self, live: Mapping[str, Any] | None) -> None:
        """Put back what was written last. Raises DiskError."""
        if self._content is None:
            return
        foreign = set((live or {}).get("data") or {}) - {BACKUP_FILE} or (live or {}).get("binaryData")
        if live is not None and foreign:
            # Server-side apply leaves what others added.
            whole = {**live, "data": {BACKUP_FILE: self._content.decode()}, "binaryData": {}}
            try:
                await self._api.replace(whole)
            except (ApiError, ApiUnavailable) as error:
                raise DiskError(str(error)) from error
        await self.replace(BACKUP_FILE, self._content)

    def read(self, name: str) -> bytes | None:
        if name != BACKUP_FILE:
            raise DiskError(f"{name}: a ConfigMap of a policy holds {BACKUP_FILE} only")
        return self._content

    async def replace(self, name: str, data: bytes) -> None:
        if name != BACKUP_FILE:
            raise DiskError(f"{name}: a ConfigMap of a policy holds {BACKUP_FILE} only")
        try:
            now = await self._api.apply({**self._manifest, "data": {name: data.decode()}})
        except (ApiError, ApiUnavailable) as error:
            raise DiskError(str(error)) from error
        self._objects.put(CONFIG_MAP, now)
        self._content, self._loaded = data, True

    async def append(self, name: str, data: bytes) -> None:
        raise DiskError(f"{name}: a ConfigMap is only ever replaced whole")

    async def truncate(self, name: str, size: int) -> None:
        raise DiskError(f"{name}: a ConfigMap is only ever replaced whole")


def _where(manifest: Mapping[str, Any]) -> dict[str, str]:
    metadata = manifest["metadata"]
    return {"namespace": metadata["namespace"], "name": metadata["name"]}
