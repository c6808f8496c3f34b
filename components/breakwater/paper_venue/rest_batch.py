"""Several orders in one request. Each leg is done or refused by itself; answers come in the order of the request."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from breakwater.paper_venue import errors
from breakwater.paper_venue.errors import VenueError
from breakwater.paper_venue.ledger import Ledger
from breakwater.paper_venue.model import Account, Now
from breakwater.paper_venue.params import Params
from breakwater.paper_venue.rest_orders import OrderEndpoints
from breakwater.paper_venue.wire import Json

MOST_ORDERS = 5
MOST_CANCELS = 10

# Numbers keep the text they were written in: an amount never becomes a float.
_decoder = msgspec.json.Decoder(float_hook=str)


class BatchEndpoints:
    """POST, PUT and DELETE of /fapi/v1/batchOrders."""

    def __init__(self, ledger: Ledger, orders: OrderEndpoints) -> None:
        self._ledger = ledger
        self._orders = orders

    def place(self, account: Account, params: Params, now: Now) -> list[Json]:
        return _each(_legs(params), lambda leg: self._orders.new_order(account, leg, now))

    def modify(self, account: Account, params: Params, now: Now) -> list[Json]:
        return _each(_legs(params), lambda leg: self._orders.modify_order(account, leg, now))

    def cancel(self, account: Account, params: Params, now: Now) -> list[Json]:
        """By `orderIdList` or `origClientOrderIdList`, which clients also write in lower case."""
        symbol = self._ledger.spec(params.text("symbol")).symbol
        for name, field in (("orderIdList", "orderId"), ("origClientOrderIdList", "origClientOrderId")):
            for spelling in (name, name.lower()):
                text = params.text(spelling)
                if text is None:
                    continue
                ids = _list(text, spelling, MOST_CANCELS)
                legs = [Params({"symbol": symbol, field: _text(spelling, one)}) for one in ids]
                return _each(legs, lambda leg: self._orders.cancel_order(account, leg, now))
        raise VenueError(
            -1102, "Param 'origClientOrderIdList' or 'orderIdList' must be sent, but both were empty/null!"
        )


def _each(legs: list[Params], act: Callable[[Params], Json]) -> list[Json]:
    answers: list[Json] = []
    for leg in legs:
        try:
            answers.append(act(leg))
        except VenueError as refused:
            answers.append({"code": refused.code, "msg": refused.message})
    return answers


def _legs(params: Params) -> list[Params]:
    legs = []
    for leg in _list(params.required("batchOrders"), "batchOrders", MOST_ORDERS):
        if not isinstance(leg, dict):
            raise errors.invalid_value("batchOrders", "a JSON list of objects is needed")
        legs.append(Params({str(name): _text(str(name), value) for name, value in leg.items() if value is not None}))
    return legs


def _list(text: str, name: str, most: int) -> list[object]:
    try:
        found = _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise errors.invalid_value(name, "a JSON list is needed")
    if not 1 <= len(found) <= most:
        raise VenueError(-4082, f"Invalid number of batch place order params: 1 to {most} are taken.")
    return found


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    raise errors.invalid_value(name, "a text, a number, true or false is needed")
