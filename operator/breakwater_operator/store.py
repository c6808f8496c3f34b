"""What the watches and our own lists last said, by kind, namespace and name. Memory only; nothing here asks anybody.

kopf does not report what was deleted while a watch was broken: `replace_all` with a list of our own prunes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from breakwater_operator.cluster.kinds import CHILDREN, OWN, Kind

Body = dict[str, Any]
Name = tuple[str, str]
"""Namespace and name."""

_NOISE = ("managedFields",)


class Store:
    """Bodies as last seen. Never change a body that came from here.

    ``changed(kind, body, gone)`` is called for everything that a list showed and no watch had reported.
    """

    def __init__(self) -> None:
        self._objects: dict[Kind, dict[Name, Body]] = {kind: {} for kind in (*OWN, *CHILDREN)}
        self._gone: dict[Kind, dict[str, int]] = {kind: {} for kind in self._objects}
        self.synced = False
        """Whether every kind has been listed at least once."""

    def get(self, kind: Kind, namespace: str, name: str) -> Body | None:
        return self._objects[kind].get((namespace, name))

    def of_namespace(self, kind: Kind, namespace: str) -> list[Body]:
        """In order of name."""
        return [body for (where, _), body in sorted(self._objects[kind].items()) if where == namespace]

    def all(self, kind: Kind) -> list[Body]:
        return list(self._objects[kind].values())

    def put(self, kind: Kind, body: Mapping[str, Any]) -> bool:
        """Take the body unless a newer one, or its deletion, is known. True when it was news."""
        slim = {**body, "metadata": {k: v for k, v in body["metadata"].items() if k not in _NOISE}}
        name, version = _name(slim), version_of(slim)
        known = self._objects[kind].get(name)
        if known is not None and version_of(known) >= version:
            return False
        if self._gone[kind].get(slim["metadata"].get("uid", ""), -1) >= version:
            return False
        self._objects[kind][name] = slim
        return True

    def remove(self, kind: Kind, body: Mapping[str, Any]) -> bool:
        """The watch said that this very object is gone. True when it was news."""
        name, uid = _name(body), body["metadata"].get("uid", "")
        gone = self._gone[kind]
        gone[uid] = version_of(body)
        while len(gone) > 1000:
            gone.pop(next(iter(gone)))
        known = self._objects[kind].get(name)
        if known is None or known["metadata"].get("uid", "") != uid:
            return False
        del self._objects[kind][name]
        return True

    def forget(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """The API server says that there is no such object any more."""
        known = self._objects[kind].get((namespace, name))
        if known is not None and known["metadata"].get("uid") == uid:
            del self._objects[kind][namespace, name]

    def replace_all(
        self,
        kind: Kind,
        namespace: str | None,
        listed: Iterable[Mapping[str, Any]],
        before: Mapping[Name, int],
        changed: Callable[[Kind, Mapping[str, Any], bool], None],
    ) -> int:
        """Take a whole list of a namespace (None: of all). ``before``: `versions` from before the list was asked for.

        What the list lacks is pruned, unless it came or changed after ``before``. Returns the number of changes.
        """
        news, seen = 0, set()
        for body in listed:
            seen.add(_name(body))
            if self.put(kind, body):
                news += 1
                changed(kind, body, False)
        for name, body in list(self._objects[kind].items()):
            if name in seen or (namespace is not None and name[0] != namespace):
                continue
            if before.get(name) == version_of(body):
                del self._objects[kind][name]
                news += 1
                changed(kind, body, True)
        return news

    def versions(self, kind: Kind) -> dict[Name, int]:
        return {name: version_of(body) for name, body in self._objects[kind].items()}

    def counts(self) -> dict[str, int]:
        return {kind.name: len(objects) for kind, objects in self._objects.items()}


def version_of(body: Mapping[str, Any]) -> int:
    """resourceVersion as a number; the API server promises that they can be compared."""
    text = str(body["metadata"].get("resourceVersion", ""))
    return int(text) if text.isdecimal() else 0


def _name(body: Mapping[str, Any]) -> Name:
    return body["metadata"].get("namespace", ""), body["metadata"]["name"]
