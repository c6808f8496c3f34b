"""The only code that talks to the API server: typed errors, short timeouts, one field manager, every write counted.

Raw requests through `kubernetes.aio`: paths come from `kinds`, so nothing needs to be discovered while the operator runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import aiohttp
import structlog
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from breakwater_operator.cluster.errors import ApiError, ApiUnavailable, Invalid, NotFound, error_of
from breakwater_operator.cluster.kinds import BY_NAME, EVENT, Kind
from breakwater_operator.metrics import OperatorMetrics

log = structlog.get_logger(__name__)

Body = dict[str, Any]

FIELD_MANAGER = "breakwater-operator"
TIMEOUT_SECONDS = 5.0
_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
_APPLY, _MERGE = "application/apply-patch+yaml", "application/merge-patch+json"
_STEPS = "application/json-patch+json"


class Api:
    """Requests to the API server. Every method raises ApiUnavailable when it does not answer and ApiError when it refuses."""

    def __init__(
        self, configuration: Configuration, metrics: OperatorMetrics, *, timeout: float = TIMEOUT_SECONDS
    ) -> None:
        # Proxies of the environment are for the world outside; the API server is inside.
        configuration.client_session_kwargs = {"trust_env": False}
        # The client library is typed in parts only.
        self._client: Any = ApiClient(configuration)
        self._client.user_agent = FIELD_MANAGER
        self._metrics = metrics
        self._timeout = timeout
        self.problem = ""
        """Why the API server did not answer the last request; empty when it did."""

    async def ping(self) -> None:
        """Ask whether it is there; ``problem`` tells the answer."""
        before = self.problem
        with contextlib.suppress(ApiError, ApiUnavailable):
            await self.read("/version")
        if bool(before) is not bool(self.problem):
            log.warning(
                "the API server " + ("does not answer" if self.problem else "answers again"), reason=self.problem
            )

    async def close(self) -> None:
        await self._client.close()

    async def get(self, kind: Kind, namespace: str, name: str) -> Body | None:
        """The object, or None when there is none."""
        try:
            return await self._call("GET", kind.path(namespace, name), f"get {kind.name} {namespace}/{name}")
        except NotFound:
            return None

    async def list_objects(
        self, kind: Kind, namespace: str | None, *, labels: str = "", metadata_only: bool = False
    ) -> list[Body]:
        """All objects of a namespace (None: of all), in pages. ``metadata_only`` leaves spec and status out."""
        where = f"list {kind.name} in {namespace or 'all namespaces'}"
        found: list[Body] = []
        query = {"limit": "500", **({"labelSelector": labels} if labels else {})}
        while True:
            page = await self._call("GET", kind.path(namespace), where, query=query, accept=metadata_only)
            found += page.get("items") or []
            following = (page.get("metadata") or {}).get("continue")
            if not following:
                break
            query["continue"] = following
        for item in found:
            # Items of a list do not say what they are.
            item["apiVersion"], item["kind"] = kind.api_version, kind.name
        return found

    async def apply(self, manifest: Mapping[str, Any]) -> Body:
        """Server-side apply: what the manifest says holds, whoever owned it before. Makes the object where it is missing."""
        kind, namespace, name = address_of(manifest)
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        what = f"apply {kind.name} {namespace}/{name}"
        return await self._write("apply", kind, "PATCH", kind.path(namespace, name), what, query, manifest, _APPLY)

    async def has_label(self, kind: Kind, namespace: str, name: str, label: str, value: str) -> bool | None:
        """Whether the object has the label; None when there is no object. Needs the right to patch, not to read.

        A JSON patch that only tests changes nothing.
        """
        path = "/metadata/labels/" + label.replace("~", "~0").replace("/", "~1")
        test = [{"op": "test", "path": path, "value": value}]
        what = f"look at the labels of {kind.name} {namespace}/{name}"
        query = {"fieldManager": FIELD_MANAGER}
        try:
            await self._write("test", kind, "PATCH", kind.path(namespace, name), what, query, test, _STEPS)
        except NotFound:
            return None
        except Invalid:
            return False
        return True

    async def replace(self, manifest: Mapping[str, Any]) -> Body:
        """PUT the whole object; its resourceVersion must be the newest, else Conflict."""
        kind, namespace, name = address_of(manifest)
        query = {"fieldManager": FIELD_MANAGER}
        what = f"replace {kind.name} {namespace}/{name}"
        return await self._write("update", kind, "PUT", kind.path(namespace, name), what, query, manifest)

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str) -> bool:
        """Delete exactly the object with this ``uid``, its own children in the background. False: it was gone already."""
        options = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        what = f"delete {kind.name} {namespace}/{name}"
        try:
            await self._write("delete", kind, "DELETE", kind.path(namespace, name), what, {}, options)
        except NotFound:
            return False
        return True

    async def patch_status(
        self, kind: Kind, namespace: str, name: str, status: Mapping[str, Any], *, resource_version: str
    ) -> Body:
        """Merge ``status`` in, if the object is still at ``resource_version`` (else Conflict). None removes a field."""
        patch = {"metadata": {"resourceVersion": resource_version}, "status": status}
        query = {"fieldManager": FIELD_MANAGER}
        path = kind.path(namespace, name, "status")
        what = f"patch the status of {kind.name} {namespace}/{name}"
        return await self._write("patch_status", kind, "PATCH", path, what, query, patch, _MERGE)

    async def create_event(self, event: Mapping[str, Any]) -> None:
        namespace = event["metadata"]["namespace"]
        await self._write("create", EVENT, "POST", EVENT.path(namespace), f"create an Event in {namespace}", {}, event)

    async def read(self, path: str) -> Body:
        """What the API server says at ``path`` (discovery, version)."""
        return await self._call("GET", path, f"get {path}")

    async def _write(
        self,
        verb: str,
        kind: Kind,
        method: str,
        path: str,
        what: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | Sequence[Any],
        content_type: str = "application/json",
    ) -> Body:
        self._metrics.count_write(kind.name, verb)
        return await self._call(method, path, what, query=query, body=body, content_type=content_type)

    async def _call(
        self,
        method: str,
        path: str,
        what: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | Sequence[Any] | None = None,
        content_type: str = "application/json",
        accept: bool = False,
    ) -> Body:
        headers = {
            "Content-Type": content_type,
            "Accept": _METADATA if accept else "application/json",
            "User-Agent": FIELD_MANAGER,
        }
        url = self._client.configuration.host + path + (f"?{urlencode(query)}" if query else "")
        try:
            # The token may have been replaced on disk; reading it anew fails only when the volume does.
            await self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
            async with asyncio.timeout(self._timeout):
                answer = await self._client.rest_client.request(
                    method, url, headers=headers, body=body, _request_timeout=aiohttp.ClientTimeout(self._timeout)
                )
                data = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._metrics.count_api_failure("unavailable")
            reason = str(error) or f"no answer within {self._timeout:g} s"
            self.problem = reason
            raise ApiUnavailable(f"{what}: {reason}") from error
        document = _decoded(data)
        self.problem = ""
        if 200 <= answer.status < 300:
            return document
        reason = str(document.get("reason") or answer.reason or "")
        refusal = error_of(what, answer.status, reason, str(document.get("message") or "no reason given"))
        if method == "GET" and isinstance(refusal, NotFound):
            raise refusal
        self._metrics.count_api_failure(reason if isinstance(refusal, ApiError) else "unavailable")
        raise refusal


def address_of(manifest: Mapping[str, Any]) -> tuple[Kind, str, str]:
    """Kind, namespace and name of an object. Raises KeyError for a kind the operator has nothing to do with."""
    metadata = manifest["metadata"]
    return BY_NAME[manifest["kind"]], metadata["namespace"], metadata["name"]


def _decoded(data: bytes) -> Body:
    try:
        document = json.loads(data)
    except ValueError:
        # A proxy's page, or the text that a starting API server answers with.
        return {"message": data[:200].decode(errors="replace").strip()}
    return document if isinstance(document, dict) else {"message": str(document)[:200]}
