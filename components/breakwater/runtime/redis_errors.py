"""What a server's or the library's error means, as a sentence with a remedy. No sentence holds a password."""

from __future__ import annotations

import re
import ssl

from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    InvalidResponse,
    NoPermissionError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from breakwater.runtime.redis_urls import Endpoint


class ServerRefuses(RedisError):
    """The server is there and will go on refusing until a person mends what the message names."""


def explained(error: Exception, endpoint: Endpoint, command: tuple[str | int | bytes, ...]) -> Exception:
    """``error`` itself, or one of the same use to callers that says what to do."""
    text = str(error)
    user = endpoint.credentials.user
    if isinstance(error, NoPermissionError) or text.startswith("NOPERM"):
        return ServerRefuses(
            f"the Redis at {endpoint} does not let user {user!r} run {_name(command)} on {_key(command)}: give it the "
            "permissions in docs/reference/redis.md (ACL of a desk)"
        )
    if isinstance(error, AuthenticationError | AuthenticationWrongNumberOfArgsError) or "NOAUTH" in text:
        wants = (
            "wants a password" if endpoint.credentials.password is None else f"refuses user {user!r} or its password"
        )
        return ServerRefuses(f"the Redis at {endpoint} {wants}: correct REDIS_URL, redis://user:password@host:port/db")
    if "DB index is out of range" in text or "SELECT is not allowed in cluster mode" in text:
        return ServerRefuses(f"the Redis at {endpoint} has no database {endpoint.db}: correct the number in REDIS_URL")
    for cause in _chain(error):
        if isinstance(cause, OSError) and cause.filename and endpoint.tls is not None:
            return ServerRefuses(f"{cause.filename}, named in REDIS_URL, cannot be used: {cause.strerror}")
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ServerRefuses(
                f"the certificate of the Redis at {endpoint} is not trusted ({cause.verify_message}): name its CA with "
                "?ssl_ca_certs=FILE in REDIS_URL, or the name it was made for with server_name="
            )
        if isinstance(cause, ssl.SSLError):
            if any(word in str(cause) for word in ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "UNKNOWN_CA")):
                return ServerRefuses(
                    f"the Redis at {endpoint} wants a client certificate that it trusts: name it with ssl_certfile= and "
                    "ssl_keyfile= in REDIS_URL"
                )
            return ServerRefuses(
                f"{endpoint} does not speak TLS ({_short(str(cause))}): begin REDIS_URL with redis instead of rediss, or "
                "correct the port"
            )
    if isinstance(error, InvalidResponse) or "Protocol error" in text or "Protocol Error" in text:
        return ServerRefuses(
            f"{endpoint} does not answer as a Redis does: correct host and port in REDIS_URL; if it is a Redis with TLS, "
            "begin with rediss"
        )
    if isinstance(error, RedisConnectionError) and not endpoint.path and ("losed" in text or "reset by peer" in text):
        if endpoint.tls is None:
            return RedisConnectionError(f"{text} ({endpoint} hung up; if it is a Redis with TLS, begin with rediss)")
        if endpoint.tls.certificate_file is None:
            return RedisConnectionError(
                f"{text} ({endpoint} hung up; if it wants a client certificate, name it with ssl_certfile= and ssl_keyfile=)"
            )
    if isinstance(error, RedisTimeoutError) and endpoint.tls is not None and "connecting" in text:
        return RedisTimeoutError(
            f"{text} ({endpoint} is away, or speaks no TLS: then begin REDIS_URL with redis instead of rediss)"
        )
    return error


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and len(found) < 10:
        found.append(step)
        step = step.__cause__ or step.__context__
    return found


def _name(command: tuple[str | int | bytes, ...]) -> str:
    return str(command[0]) if command else "a command"


def _key(command: tuple[str | int | bytes, ...]) -> str:
    for word in command[1:]:
        if isinstance(word, str) and word.startswith("bw:"):
            return f"{word} (pattern {re.sub(r'[}].*', '}:*', word)})"
    return "the server"


def _short(text: str) -> str:
    return text.split("] ")[-1].split(" (_ssl")[0]
