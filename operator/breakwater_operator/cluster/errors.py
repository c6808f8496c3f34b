"""What can go wrong between the operator and the API server."""

from __future__ import annotations


class ApiError(Exception):
    """The API server refused. ``status`` is HTTP's, ``reason`` its own word for it (``NotFound``, ``Invalid``, ...)."""

    def __init__(self, what: str, status: int, reason: str, message: str) -> None:
        super().__init__(f"{what}: {message} ({status} {reason})")
        self.what, self.status, self.reason, self.message = what, status, reason, message


class NotFound(ApiError):
    """There is no such object (or no such kind)."""


class Conflict(ApiError):
    """Somebody else changed the object first: read it again and decide anew."""


class Forbidden(ApiError):
    """The operator's ServiceAccount lacks a right; the message names verb and resource."""


class Invalid(ApiError):
    """The API server's validation refused the object; the message names the field."""


class ApiUnavailable(Exception):
    """The API server did not answer, or asks to come back later. Nothing is known about the outcome."""


def error_of(what: str, status: int, reason: str, message: str) -> Exception:
    """The exception for an answer that is not a success."""
    if status == 429 or status >= 500:
        return ApiUnavailable(f"{what}: the API server answers {status} {reason}: {message}")
    kind = {403: Forbidden, 404: NotFound, 409: Conflict, 422: Invalid}.get(status, ApiError)
    return kind(what, status, reason, message)
