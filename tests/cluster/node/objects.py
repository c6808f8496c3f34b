"""ConfigMaps and Secrets that running pods use, each watched by name: the only way a node may see them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from tests.cluster.node.api import Api, Object


class Ref(NamedTuple):
    """``kind`` is ``configmaps`` or ``secrets``."""

    kind: str
    namespace: str
    name: str


Lookup = Callable[[Ref], Object | None]
"""The object as it is now, None when there is none. Raises KeyError when that is not known yet."""


def references(pod: Object) -> set[Ref]:
    """Every ConfigMap and Secret that a pod's volumes and environment name."""
    namespace, spec = pod["metadata"]["namespace"], pod["spec"]
    found: set[Ref] = set()

    def add(kind: str, name: str | None) -> None:
        if name:
            found.add(Ref(kind, namespace, name))

    for volume in spec.get("volumes") or []:
        for source in [volume, *((volume.get("projected") or {}).get("sources") or [])]:
            add("configmaps", (source.get("configMap") or {}).get("name"))
            secret: dict[str, Any] = source.get("secret") or {}
            add("secrets", secret.get("secretName") or secret.get("name"))
    for container in [*(spec.get("initContainers") or []), *spec["containers"]]:
        for variable in container.get("env") or []:
            origin = variable.get("valueFrom") or {}
            add("configmaps", (origin.get("configMapKeyRef") or {}).get("name"))
            add("secrets", (origin.get("secretKeyRef") or {}).get("name"))
        for origin in container.get("envFrom") or []:
            add("configmaps", (origin.get("configMapRef") or {}).get("name"))
            add("secrets", (origin.get("secretRef") or {}).get("name"))
    return found


class _Watched:
    def __init__(self) -> None:
        self.value: Object | None = None
        self.known = asyncio.Event()
        self.users = 0
        self.task: asyncio.Task[None] | None = None


class WatchedObjects:
    """Shared watches; ``hold`` while a pod lives, ``release`` after."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._watched: dict[Ref, _Watched] = {}
        self._listeners: set[Callable[[Ref], None]] = set()

    def listen(self, listener: Callable[[Ref], None]) -> Callable[[], None]:
        """Call ``listener`` at every change; what comes back ends that."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    def hold(self, refs: Iterable[Ref]) -> None:
        for ref in refs:
            watched = self._watched.setdefault(ref, _Watched())
            watched.users += 1
            if watched.task is None:
                watched.task = asyncio.create_task(self._follow(ref, watched), name=f"watch {ref.kind}/{ref.name}")

    async def release(self, refs: Iterable[Ref]) -> None:
        for ref in refs:
            watched = self._watched[ref]
            watched.users -= 1
            if not watched.users and watched.task is not None:
                del self._watched[ref]
                watched.task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watched.task

    async def known(self, refs: Iterable[Ref]) -> None:
        """Wait until each of them was looked up once."""
        for ref in refs:
            await self._watched[ref].known.wait()

    def get(self, ref: Ref) -> Object | None:
        watched = self._watched[ref]
        if not watched.known.is_set():
            raise KeyError(ref)
        return watched.value

    async def _follow(self, ref: Ref, watched: _Watched) -> None:
        def take(value: Object | None) -> None:
            changed = value != watched.value or not watched.known.is_set()
            watched.value = value
            watched.known.set()
            if changed:
                for listener in list(self._listeners):
                    listener(ref)

        await self._api.follow(
            f"/api/v1/namespaces/{ref.namespace}/{ref.kind}",
            lambda items: take(items[0] if items else None),
            lambda kind, value: take(None if kind == "DELETED" else value),
            fieldSelector=f"metadata.name={ref.name}",
        )
