"""A pod's volumes: directories on the host, filled and kept up to date as a kubelet does it."""

from __future__ import annotations

import base64
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.cluster.node.api import AWAY, Api, ApiError, Object
from tests.cluster.node.environment import ConfigError, PodFacts, expand, field, resource_field
from tests.cluster.node.objects import Lookup, Ref

Payload = dict[str, tuple[bytes, int]]
"""Relative path -> content and mode."""

WRITTEN = ("configMap", "secret", "projected", "downwardAPI")
_TOKEN_SECONDS = 3607


class MountError(Exception):
    """A volume cannot be had yet: event FailedMount, retried."""


@dataclass
class _Token:
    text: str
    renew_at: float
    """Unix seconds: at 80 % of its life, as a kubelet does."""


class PodVolumes:
    """``prepare`` until it no longer raises; ``refresh`` after changes and from time to time."""

    def __init__(
        self, api: Api, directory: Path, facts: PodFacts, lookup: Lookup, on_host: Callable[[str], Path]
    ) -> None:
        """``on_host``: where the path of a hostPath PersistentVolume really lies."""
        self._api = api
        self._directory = directory
        self._facts = facts
        self._lookup = lookup
        self._on_host = on_host
        self._volumes: list[Object] = facts.pod["spec"].get("volumes") or []
        self._places: dict[str, Path] = {}
        self._tokens: dict[tuple[str, str], _Token] = {}

    def update(self, facts: PodFacts) -> None:
        """New labels or annotations of the pod."""
        self._facts = facts

    async def prepare(self) -> None:
        """Raises MountError with a kubelet's words."""
        for volume in self._volumes:
            try:
                self._places[volume["name"]] = await self._prepare(volume)
            except (MountError, ConfigError, OSError) as error:
                raise MountError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}') from error

    async def refresh(self) -> None:
        """Bring changed ConfigMaps, Secrets, labels and expiring tokens into the pod. What vanished stays as it was."""
        for volume in self._volumes:
            if any(kind in volume for kind in WRITTEN) and volume["name"] in self._places:
                try:
                    await self._prepare(volume)
                except (MountError, ConfigError):
                    continue

    def mounts(self, container: Object, variables: dict[str, str]) -> list[dict[str, Any]]:
        """``[{source, target, readOnly}]`` for the launcher. Raises ConfigError."""
        return [self._mount(mount, variables) for mount in container.get("volumeMounts") or []]

    def _mount(self, mount: Object, variables: dict[str, str]) -> dict[str, Any]:
        volume = next(volume for volume in self._volumes if volume["name"] == mount["name"])
        source: Path = self._places[mount["name"]]
        sub_path = mount.get("subPath") or expand(mount.get("subPathExpr") or "", variables)
        if sub_path:
            whole = source.resolve()
            source = (source / sub_path).resolve()
            if not source.is_relative_to(whole):
                raise ConfigError(f'subPath "{sub_path}" leads out of the volume "{mount["name"]}"')
            if not source.exists():
                source.mkdir(parents=True)
        claim = volume.get("persistentVolumeClaim") or {}
        read_only = mount.get("readOnly") or claim.get("readOnly") or any(kind in volume for kind in WRITTEN)
        return {"source": str(source), "target": mount["mountPath"].rstrip("/"), "readOnly": bool(read_only)}

    async def _prepare(self, volume: Object) -> Path:
        own: Path = self._directory / volume["name"]
        if "emptyDir" in volume:
            return _empty_dir(own)
        if source := volume.get("hostPath"):
            return _host_path(Path(source["path"]), source.get("type") or "")
        if source := volume.get("persistentVolumeClaim"):
            return await self._claim(source["claimName"])
        if "ephemeral" in volume:
            return await self._claim(f"{self._facts.pod['metadata']['name']}-{volume['name']}")
        write_atomically(own, await self._payload(volume))
        return own

    async def _claim(self, name: str) -> Path:
        namespace = self._facts.pod["metadata"]["namespace"]
        try:
            claim = await self._api.call("GET", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}")
            if (claim.get("status") or {}).get("phase") != "Bound":
                raise MountError(f'PersistentVolumeClaim is not bound: "{name}"')
            volume = await self._api.call("GET", f"/api/v1/persistentvolumes/{claim['spec']['volumeName']}")
        except (ApiError, *AWAY) as error:
            raise MountError(str(error)) from error
        source = volume["spec"].get("hostPath") or volume["spec"].get("local")
        if not source:
            raise MountError("only hostPath and local PersistentVolumes can be mounted here")
        return _host_path(self._on_host(source["path"]), "DirectoryOrCreate")

    async def _payload(self, volume: Object) -> Payload:
        if source := volume.get("projected"):
            mode = source.get("defaultMode", 0o644)
            merged: Payload = {}
            for part in source.get("sources") or []:
                merged |= await self._part(part, mode)
            return merged
        for kind in WRITTEN:
            if kind in volume:
                return await self._part({kind: volume[kind]}, volume[kind].get("defaultMode", 0o644))
        kind = next((key for key in volume if key != "name"), "nothing")
        raise MountError(f"volumes of kind {kind} are not supported here")

    async def _part(self, part: Object, mode: int) -> Payload:
        if source := part.get("serviceAccountToken"):
            return {source["path"]: ((await self._token(source)).encode(), mode)}
        if (source := part.get("downwardAPI")) is not None:
            return {item["path"]: (self._downward(item), item.get("mode", mode)) for item in source.get("items") or []}
        for kind, resource in (("configMap", "configmaps"), ("secret", "secrets")):
            if (source := part.get(kind)) is not None:
                return self._from_object(resource, source, mode)
        raise MountError(f"volumes from {', '.join(part)} are not supported here")

    def _downward(self, item: Object) -> bytes:
        if selector := item.get("fieldRef"):
            return field(self._facts, selector["fieldPath"]).encode()
        selector = item["resourceFieldRef"]
        spec = self._facts.pod["spec"]
        containers = [*spec["containers"], *(spec.get("initContainers") or [])]
        container = next(each for each in containers if each["name"] == selector["containerName"])
        return resource_field(self._facts, container, selector).encode()

    def _from_object(self, resource: str, source: Object, mode: int) -> Payload:
        namespace = self._facts.pod["metadata"]["namespace"]
        name, optional = source.get("secretName") or source.get("name"), bool(source.get("optional"))
        found = self._lookup(Ref(resource, namespace, str(name)))
        if found is None:
            if optional:
                return {}
            raise MountError(f'{resource.removesuffix("s")} "{name}" not found')
        text = found.get("data") or {}
        if resource == "secrets":
            content = {key: base64.b64decode(value) for key, value in text.items()}
        else:
            content = {key: value.encode() for key, value in text.items()}
            content |= {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
        if "items" not in source:
            return {key: (value, mode) for key, value in content.items()}
        chosen: Payload = {}
        for item in source["items"]:
            if item["key"] in content:
                chosen[item["path"]] = (content[item["key"]], item.get("mode", mode))
            elif not optional:
                raise MountError(f"references non-existent {resource.removesuffix('s')} key: {item['key']}")
        return chosen

    async def _token(self, source: Object) -> str:
        metadata, spec = self._facts.pod["metadata"], self._facts.pod["spec"]
        audience = source.get("audience") or ""
        key = (audience, source["path"])
        held = self._tokens.get(key)
        if held is not None and time.time() < held.renew_at:
            return held.text
        account = spec.get("serviceAccountName", "default")
        bound = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
        seconds = source.get("expirationSeconds", _TOKEN_SECONDS)
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [audience] if audience else [],
                "expirationSeconds": seconds,
                "boundObjectRef": bound,
            },
        }
        path = f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token"
        try:
            status = (await self._api.call("POST", path, body))["status"]
        except (ApiError, *AWAY) as error:
            if held is not None:
                return held.text
            raise MountError(f"failed to fetch token: {error}") from error
        ends = datetime.fromisoformat(status["expirationTimestamp"]).timestamp()
        self._tokens[key] = _Token(status["token"], time.time() + 0.8 * (ends - time.time()))
        return self._tokens[key].text


def _empty_dir(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o777)
    return path


def _host_path(path: Path, kind: str) -> Path:
    if kind in ("", "DirectoryOrCreate") and not path.exists():
        _empty_dir(path)
    if kind == "FileOrCreate" and not path.exists():
        path.touch()
    good = (
        path.is_dir() if kind.startswith("Directory") else path.is_file() if kind.startswith("File") else path.exists()
    )
    if not good:
        raise MountError(f"hostPath type check failed: {path} is not a {kind}")
    return path


def write_atomically(directory: Path, payload: Payload) -> None:
    """Readers see the old content or the new one, never both: files are links through ``..data``, which is swapped whole."""
    directory.mkdir(parents=True, exist_ok=True)
    pointer = directory / "..data"
    old = directory / os.readlink(pointer) if pointer.is_symlink() else None
    if old is not None and _read(old) == payload:
        return
    new = directory / f"..{datetime.now(UTC):%Y_%m_%d_%H_%M_%S.%f}"
    new.mkdir(mode=0o755)
    for name, (content, mode) in payload.items():
        file = new / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(mode)
    draft = directory / "..data_tmp"
    draft.unlink(missing_ok=True)
    draft.symlink_to(new.name)
    os.replace(draft, pointer)
    wanted = {Path(name).parts[0] for name in payload}
    for name in wanted:
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")
    for entry in directory.iterdir():
        if not entry.name.startswith("..") and entry.name not in wanted:
            entry.unlink()
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _read(directory: Path) -> Payload:
    files = [file for file in directory.rglob("*") if file.is_file()]
    return {str(file.relative_to(directory)): (file.read_bytes(), file.stat().st_mode & 0o7777) for file in files}
