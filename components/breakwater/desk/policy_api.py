"""The policy over HTTP, on a laptop: what is in force, what a change would do, and applying it (docs/reference/cli.md).

Every call needs the desk's token. A body is the YAML text of both resources. Nothing is half taken: 422 names every field
that is wrong, 409 what cannot change now, 503 that the store did not answer; the policy in force is then as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response

from breakwater.desk.policy_change import Problem, exits_only, refusals, waits_for_rearm
from breakwater.domain.policy import TradingMode
from breakwater.domain.stop_state import StopState
from breakwater.runtime import policy_copy
from breakwater.runtime.http import require_token
from breakwater.runtime.manifests import POLICY_KIND, STOP_KIND, DeskManifests, ManifestError, load_manifests
from breakwater.runtime.policy_copy import BadCopy, decode_copy
from breakwater.runtime.policy_diff import desk_to_wire, diff_limits, diff_policies
from breakwater.runtime.policy_store import PolicyInForce, PolicyStore
from breakwater.runtime.ports import DiskError, StoreUnavailable
from breakwater.runtime.strict_yaml import MOST_BYTES

_encoder = msgspec.json.Encoder(decimal_format="number")

Who = Annotated[str, Query(min_length=1, max_length=256, pattern=r"\S")]


def policy_router(
    store: PolicyStore,
    *,
    stop_state: Callable[[], StopState | None],
    modes: Collection[TradingMode] = (TradingMode.PAPER,),
) -> APIRouter:
    """Routes for the process that is the policy's writer.

    ``stop_state`` says None while it does not know. Publishing ``PolicyUpdated`` is the business of
    the store's ``on_change``.
    """
    router = APIRouter(dependencies=[Depends(require_token)])

    def judge(known: PolicyInForce | None, desk: DeskManifests) -> list[Problem]:
        before = known.desk if known else None
        return refusals(before, desk, stop=stop_state(), modes=modes)

    @router.get("/v1/policy")
    async def show() -> Response:
        """In force: version, both resources, every limit requested and effective, history. 503 while none is known."""
        known = store.current()
        if known is None:
            return _errors(503, Problem("", "no policy is known", "apply one: breakwater policy apply FILE"))
        return _json(200, _shown(known, store))

    @router.post("/v1/policy")
    async def apply(request: Request, who: Who) -> Response:
        """Bring both resources into force. 200 also when nothing differs; ``changed`` says which."""
        desk = await _manifests(request)
        if isinstance(desk, Response):
            return desk
        known = store.current()
        if problems := judge(known, desk):
            return _errors(409, *problems)
        try:
            now = await store.apply(desk, who=who)
        except (StoreUnavailable, DiskError) as error:
            return _errors(503, Problem("", str(error), "nothing was changed: try again when it answers"))
        return _json(
            200,
            {
                "version": now.version,
                "changed": known is None or now.version != known.version,
                **_difference(known, desk),
            },
        )

    @router.get("/v1/policy/snapshot")
    async def snapshot() -> Response:
        """The copy in force with its history and digest, as ``restore`` takes it back. 503 while none is known."""
        data = store.snapshot()
        if data is None:
            return _errors(503, Problem("", "no policy is known", "apply one: breakwater policy apply FILE"))
        return Response(data, media_type="application/json")

    @router.post("/v1/policy/restore")
    async def restore(request: Request, who: Who, dry: bool = False) -> Response:
        """Bring a snapshot into force as a new version, judged as any change is; with ``dry`` only say what it would change."""
        body = await _body(request, policy_copy.MOST_BYTES)
        if isinstance(body, Response):
            return body
        try:
            copy = decode_copy(body)
        except BadCopy as error:
            return _errors(422, Problem("", f"this is no whole snapshot: {error}", "take another one"))
        known = store.current()
        problems, difference = judge(known, copy.desk), _difference(known, copy.desk)
        if dry:
            about = {"version": known.version if known else 0, "snapshot": copy.version, "refused": problems}
            return _json(200, about | difference)
        if problems:
            return _errors(409, *problems)
        try:
            now = await store.restore(body, who=who)
        except (StoreUnavailable, DiskError) as error:
            return _errors(503, Problem("", str(error), "nothing was changed: try again when it answers"))
        changed = known is None or now.version != known.version
        return _json(200, {"version": now.version, "snapshot": copy.version, "changed": changed} | difference)

    @router.post("/v1/policy/diff")
    async def diff(request: Request) -> Response:
        """What applying would change, and why it would be refused now; changes nothing."""
        desk = await _manifests(request)
        if isinstance(desk, Response):
            return desk
        known = store.current()
        return _json(
            200, {"version": known.version if known else 0, "refused": judge(known, desk), **_difference(known, desk)}
        )

    def _difference(known: PolicyInForce | None, desk: DeskManifests) -> dict[str, Any]:
        before = known.desk if known else None
        return {
            "changes": [str(change) for change in diff_policies(before, desk)],
            "effective": [str(change) for change in diff_limits(before, desk)] if before else [],
            "waits": waits_for_rearm(before, desk, stop_state()),
            "notes": exits_only(before, desk),
        }

    return router


def _shown(known: PolicyInForce, store: PolicyStore) -> dict[str, Any]:
    wire = desk_to_wire(known.desk)
    return {
        "version": known.version,
        "sha256": known.digest,
        "stale": known.stale,
        "hold": known.hold,
        "fetched_at": known.fetched_at,
        "problems": known.problems,
        POLICY_KIND: wire[POLICY_KIND],
        STOP_KIND: wire[STOP_KIND],
        "limits": [
            {"name": name, "effective": str(bound.value), "requested": str(bound.requested), "binding": bound.binding}
            for name, bound in known.limits.items()
        ],
        "history": [
            {"version": e.version, "time": e.time, "who": e.who, "changes": [str(change) for change in e.changes]}
            for e in reversed(store.history())
        ],
    }


async def _body(request: Request, most: int) -> bytes | Response:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            return _errors(
                413, Problem("", f"the text is longer than {most} bytes", "send only the desk's two resources")
            )
    return body


async def _manifests(request: Request) -> DeskManifests | Response:
    body = await _body(request, MOST_BYTES)
    if isinstance(body, Response):
        return body
    try:
        return load_manifests(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        return _errors(422, Problem("", f"byte {error.start} is not UTF-8", "save the file as UTF-8 text"))
    except ManifestError as error:
        return _errors(422, *(Problem(p.path, p.problem, p.remedy, p.line, p.document) for p in error.problems))


def _errors(status: int, *problems: Problem) -> Response:
    return _json(status, {"errors": list(problems)})


def _json(status: int, value: Any) -> Response:
    return Response(_encoder.encode(value), status, media_type="application/json")
