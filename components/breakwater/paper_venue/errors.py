"""Refusals in the exchange's own words: an HTTP status, a code and a sentence.

Codes and sentences follow Binance's published error list for USDⓈ-M futures.
"""

from __future__ import annotations


class VenueError(Exception):
    """A request refused by the venue. `code` is negative, `status` is the HTTP status to answer with."""

    def __init__(self, code: int, message: str, status: int = 400, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.headers = headers or {}


class StreamRefused(Exception):
    """A WebSocket path the venue does not serve. `status` is the HTTP status of the refused handshake."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def missing(name: str) -> VenueError:
    return VenueError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def malformed(name: str, why: str) -> VenueError:
    return VenueError(-1102, f"Parameter '{name}' was malformed: {why}.")


def not_required(name: str) -> VenueError:
    return VenueError(-1106, f"Parameter '{name}' sent when not required.")


def illegal_characters(name: str, legal: str) -> VenueError:
    return VenueError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def invalid_value(name: str, why: str) -> VenueError:
    return VenueError(-1130, f"Data sent for parameter '{name}' is not valid: {why}.")


def over_precision() -> VenueError:
    return VenueError(-1111, "Precision is over the maximum defined for this asset.")


def invalid_symbol() -> VenueError:
    return VenueError(-1121, "Invalid symbol.")


def not_permitted() -> VenueError:
    return VenueError(-2015, "Invalid API-key, IP, or permissions for action.", status=401)


def unknown_path(method: str, path: str) -> VenueError:
    return VenueError(-5000, f"Path {path}, Method {method} is invalid", status=404)


def unknown_order() -> VenueError:
    return VenueError(-2011, "Unknown order sent.")


def no_such_order() -> VenueError:
    return VenueError(-2013, "Order does not exist.")


def not_trading(symbol: str) -> VenueError:
    return VenueError(-4108, f"{symbol} is on delivering or delivered or settling or closed or pre-trading.")


def no_price(symbol: str) -> VenueError:
    return VenueError(-4031, f"Symbol {symbol} has no price yet: wait for the market to deliver its first tick.")
