"""Does a live object still say what we want it to say? Pure; defaults of the API server are no difference.

What is compared: every field that we set; every list whole (an environment variable or a container added by hand is a
difference); and that no other field was added by hand (``hostNetwork``, ``lifecycle``, ``externalIPs``). Manifests spell
the API server's defaults out where they can, so that few fields have to be known here. Labels, annotations, owner
references and finalizers of others may stay. A claim's spec belongs to whoever resizes it.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from breakwater_operator.desired.manifest import Manifest
from breakwater_operator.desired.quantity import QuantityError, amount_of

Live = Mapping[str, Any]

_CLAIM = "PersistentVolumeClaim"
_KEPT_OF_CLAIM = ("accessModes", "resources", "storageClassName")
"""What an apply has to repeat of a claim's spec: left out, it would ask to remove what cannot be removed."""
_OF_THE_SERVER: Mapping[tuple[str, str], frozenset[str]] = {
    ("Service", "spec"): frozenset({"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"}),
    ("Deployment", "spec.template.spec"): frozenset({"serviceAccount"}),
    ("ServiceAccount", ""): frozenset({"secrets", "imagePullSecrets"}),
}
"""By kind and path: fields that the API server, or another controller, fills in with values of its own."""
_SHARED_MAPS = ("labels", "annotations")
_LISTS_BY_NAME = ("containers", "env", "volumes", "volumeMounts", "ports")
_QUANTITIES = ("requests", "limits")


def differs(live: Live, desired: Live) -> str | None:
    """The path of the first field in which ``live`` is not what is ``desired``; None when it is.

    ``spec.template.spec.containers[execution].env[HELLO]`` may be missing, different or one too many.
    """
    return next(_differences(live, desired), None)


def for_apply(live: Live | None, desired: Manifest) -> Manifest:
    """What a server-side apply has to send: a claim that exists keeps the spec it has, or the API server refuses it."""
    if live is None or desired["kind"] != _CLAIM:
        return desired
    spec = live.get("spec") or {}
    return {**desired, "spec": {key: spec[key] for key in _KEPT_OF_CLAIM if key in spec}}


def merged_for_replace(live: Live, desired: Manifest) -> Manifest:
    """``desired`` as a PUT over ``live``: with what the API server and others own, without what was added by hand."""
    merged = copy.deepcopy(desired)
    kind = desired["kind"]
    merged["metadata"] = _merged_metadata(live.get("metadata") or {}, merged["metadata"])
    if kind == _CLAIM:
        merged["spec"] = copy.deepcopy(live.get("spec") or {})
    for (of, path), names in _OF_THE_SERVER.items():
        if of == kind != "Deployment":  # there it follows from serviceAccountName
            theirs, ours = _at(live, path), _at(merged, path)
            ours.update({name: copy.deepcopy(theirs[name]) for name in names if name in theirs})
    if kind == "Deployment":
        # Foreign annotations on the template (a restart by kubectl) must not go: that would restart the pod again.
        theirs = _at(live, "spec.template.metadata")
        ours = _at(merged, "spec.template.metadata")
        ours.update(
            {name: {**(theirs.get(name) or {}), **ours.get(name, {})} for name in _SHARED_MAPS if theirs.get(name)}
        )
    return merged


def desired_hash(manifest: Live) -> str:
    """SHA-256 of the manifest, hexadecimal: equal for equal content, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _differences(live: Live, desired: Live) -> Iterator[str]:
    kind = str(desired["kind"])
    for key in ("apiVersion", "kind"):
        if key in live and live[key] != desired[key]:
            yield key
    yield from _of_metadata(live.get("metadata") or {}, desired["metadata"], "metadata")
    if kind == _CLAIM:
        return
    apart = ("apiVersion", "kind", "metadata", "status")
    ours = {key: value for key, value in desired.items() if key not in apart}
    theirs = {key: value for key, value in live.items() if key not in apart}
    yield from _of_map(theirs, ours, "", kind)


def _of_metadata(live: Live, desired: Live, path: str) -> Iterator[str]:
    for key in ("name", "namespace"):
        if key in desired and live.get(key) != desired[key]:
            yield f"{path}.{key}"
    for key in _SHARED_MAPS:
        theirs = live.get(key) or {}
        for name, value in (desired.get(key) or {}).items():
            if theirs.get(name) != value:
                yield f"{path}.{key}[{name}]"
    owners = live.get("ownerReferences") or []
    for owner in desired.get("ownerReferences") or []:
        if not any(all(theirs.get(key) == value for key, value in owner.items()) for theirs in owners):
            yield f"{path}.ownerReferences[{owner['name']}]"


def _of_map(live: Live, desired: Live, path: str, kind: str) -> Iterator[str]:
    for key, value in desired.items():
        at = f"{path}.{key}" if path else key
        if key not in live:
            if value not in ({}, [], None):
                yield at
        elif at == "spec.template.metadata":
            yield from _of_metadata(live[key] or {}, value, at)
        else:
            yield from _of_value(live[key], value, at, kind, quantity=_is_quantity(path, key))
    theirs = _OF_THE_SERVER.get((kind, path), frozenset())
    for key, value in live.items():
        if key not in desired and key not in theirs and value not in ({}, [], None, ""):
            yield f"{path}.{key}" if path else key


def _of_value(live: object, desired: object, path: str, kind: str, *, quantity: bool = False) -> Iterator[str]:
    if isinstance(desired, Mapping):
        yield from _of_map(live, desired, path, kind) if isinstance(live, Mapping) else iter((path,))
    elif isinstance(desired, list | tuple):
        yield from _of_list(live, desired, path, kind) if isinstance(live, list | tuple) else iter((path,))
    elif not _same(live, desired, quantity=quantity):
        yield path


def _of_list(live: Sequence[Any], desired: Sequence[Any], path: str, kind: str) -> Iterator[str]:
    key = "mountPath" if path.endswith("volumeMounts") else "name"
    if path.rpartition(".")[2] in _LISTS_BY_NAME:
        theirs, ours = [_named(entry, key) for entry in live], [_named(entry, key) for entry in desired]
        odd = [name for name in (*ours, *theirs) if (name in ours) is not (name in theirs)]
        if odd:
            yield from (f"{path}[{name}]" for name in odd)
            return
        if ours != theirs:
            yield path
            return
        names = ours
    else:
        names = [str(number) for number in range(len(desired))]
    if len(live) != len(desired):
        yield path
        return
    for name, theirs_one, ours_one in zip(names, live, desired, strict=True):
        yield from _of_value(theirs_one, ours_one, f"{path}[{name}]", kind)


def _named(entry: object, key: str) -> str:
    return str(entry.get(key)) if isinstance(entry, Mapping) else str(entry)


def _is_quantity(path: str, key: str) -> bool:
    return path.rpartition(".")[2] in _QUANTITIES or key == "sizeLimit"


def _same(live: object, desired: object, *, quantity: bool) -> bool:
    if quantity:
        try:
            return amount_of(live) == amount_of(desired)
        except QuantityError:
            return False
    # True == 1 in Python, not in JSON.
    return live == desired and isinstance(live, bool) is isinstance(desired, bool)


def _merged_metadata(live: Live, desired: Manifest) -> Manifest:
    merged = {key: copy.deepcopy(value) for key, value in live.items() if key != "managedFields"} | desired
    for key in _SHARED_MAPS:
        merged[key] = {**(live.get(key) or {}), **(desired.get(key) or {})}
    ours = list(desired.get("ownerReferences") or [])
    uids = {owner.get("uid") for owner in ours}
    others = [copy.deepcopy(owner) for owner in live.get("ownerReferences") or [] if owner.get("uid") not in uids]
    if others or ours:
        merged["ownerReferences"] = [*ours, *others]
    return merged


def _at(manifest: Any, path: str) -> Any:
    """The map at ``path``; an empty one, not part of ``manifest``, where there is none."""
    for key in path.split(".") if path else ():
        manifest = manifest.get(key) or {}
    return manifest
