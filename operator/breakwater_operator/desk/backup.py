"""The ConfigMap that carries a desk's policy, as the disk that the policy store keeps its backup on.

Whoever may write ConfigMaps could put anything there, so it is read once, when the operator gets to know the desk;
after that what the operator wrote last holds, and whatever else is found there is overwritten.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from breakwater.runtime.policy_store import BACKUP_FILE
from breakwater.runtime.ports import DiskError
from breakwater_operator.cluster.api import Api
from breakwater_operator.cluster.errors import ApiError, ApiUnavailable
from breakwater_operator.cluster.kinds import CONFIG_MAP
from breakwater_operator.desired.labels import MANAGED_BY, MANAGED_BY_LABEL
from breakwater_operator.store import Store


class ConfigMapDisk:
    """A `Disk` of one file. ``manifest`` is the ConfigMap without its data."""

    def __init__(self, api: Api, objects: Store, manifest: Mapping[str, Any]) -> None:
        self._api, self._objects, self._manifest = api, objects, manifest
        self._content: bytes | None = None
        self._loaded = False

    async def load(self) -> None:
        """Read what is there, the first time only. Raises DiskError."""
        if self._loaded:
            return
        metadata = self._manifest["metadata"]
        try:
            found = await self._api.get(CONFIG_MAP, metadata["namespace"], metadata["name"])
        except (ApiError, ApiUnavailable) as error:
            raise DiskError(str(error)) from error
        there = (found or {}).get("metadata", {})
        owner = [ref.get("uid") for ref in there.get("ownerReferences", [])]
        if found is not None and not owner and (there.get("labels") or {}).get(MANAGED_BY_LABEL) != MANAGED_BY:
            where = f"ConfigMap {metadata['name']}"
            raise DiskError(f"{where} exists already and was not made for this policy: delete it or rename the policy")
        # A policy that was made anew is a new desk: the old one's copy says nothing about it.
        if found is not None and metadata["ownerReferences"][0]["uid"] in owner:
            text = (found.get("data") or {}).get(BACKUP_FILE)
            self._content = text.encode() if isinstance(text, str) else None
        self._loaded = True

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
