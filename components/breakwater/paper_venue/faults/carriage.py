"""A delivery over real HTTP: sent whole, late, cut off, or never."""

from __future__ import annotations

import asyncio

from aiohttp import web

from breakwater.paper_venue.faults.catalogue import Transmission
from breakwater.paper_venue.faults.wire import Delivery

LOOK_S = 0.05
"""How often a reply that never comes looks whether anybody still waits for it."""


async def carry(request: web.Request, delivery: Delivery) -> web.StreamResponse:
    """Send ``delivery`` to who made ``request``."""
    response = delivery.response
    if delivery.delay_s:
        await asyncio.sleep(delivery.delay_s)
    transport = request.transport
    match delivery.transmission:
        case Transmission.RESET:
            if transport is not None:
                transport.abort()
        case Transmission.NEVER:
            while transport is not None and not transport.is_closing():  # noqa: ASYNC110 - nobody tells of a peer that left
                await asyncio.sleep(LOOK_S)
        case Transmission.CUT:
            reply = web.StreamResponse(status=response.status, headers=response.headers)
            reply.content_length = len(response.body)
            await reply.prepare(request)
            await reply.write(response.body[: len(response.body) // 2])
            if transport is not None:
                transport.close()
            return reply
        case Transmission.WHOLE:
            pass
    return web.Response(status=response.status, headers=response.headers, body=response.body)
