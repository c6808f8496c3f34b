"""Addresses of a Redis or Valkey: one server, a Unix socket, a master that Sentinels know, or a cluster.

* ``redis://[user:password@]host[:port][/db]``, ``rediss://`` the same with TLS, ``unix:///path[?db=N]``
* ``redis+sentinel://[user:password@]host[:26379][,host...]/MASTER[/db]``; user and password are the master's,
  ``?sentinel_username=`` and ``?sentinel_password=`` those of the Sentinels
* ``redis+cluster://[user:password@]host[:6379][,host...]``; the keys of a desk share a slot, so one node holds its bus

``rediss+sentinel`` and ``rediss+cluster`` speak TLS. TLS takes ``ssl_ca_certs`` (file of the CA), ``ssl_certfile`` and
``ssl_keyfile`` (client certificate) and ``server_name`` (what the certificate says, when it is not the host) after a ``?``.
User and password are percent-encoded where they have characters of their own in a URL.
"""

from __future__ import annotations

import enum
import errno
import ssl
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

EXAMPLE = "for example redis://localhost:6379/0"
_SCHEMES = "redis://, rediss://, unix://, redis+sentinel://, rediss+sentinel://, redis+cluster:// or rediss+cluster://"
_TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "server_name")
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
_PORT, _SENTINEL_PORT = 6379, 26379


class Kind(enum.Enum):
    """How the server that holds the data is found."""

    FIXED = "fixed"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True)
class Tls:
    """Files, not contents: they may be renewed while we run, and count from the next connection on."""

    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None

    def context(self) -> ssl.SSLContext:
        """Raises OSError naming a file that cannot be used."""
        name: str | None
        for name in filter(None, (self.ca_file, self.certificate_file, self.key_file)):
            with open(str(name), "rb"):  # says which one is missing; OpenSSL does not
                pass
        name = self.ca_file
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            name = self.certificate_file
            if self.certificate_file is not None:
                context.load_cert_chain(self.certificate_file, self.key_file)
        except ssl.SSLError:
            raise OSError(errno.EINVAL, "it holds no certificate, or the key does not belong to it", name) from None
        return context


@dataclass(frozen=True)
class Credentials:
    """``username`` None: the default user. Without ``password`` nothing is sent."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def user(self) -> str:
        return self.username or "default"


@dataclass(frozen=True)
class Endpoint:
    """One server to dial: ``path`` of a Unix socket, or ``host`` and ``port``, with TLS where ``tls`` is not None."""

    host: str = ""
    port: int = 0
    path: str = ""
    db: int = 0
    tls: Tls | None = None
    credentials: Credentials = Credentials()

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


@dataclass(frozen=True)
class ServerUrl:
    """A parsed address. ``seeds``: the server, or the Sentinels or cluster nodes to ask first."""

    kind: Kind
    seeds: tuple[Endpoint, ...]
    master: str = ""
    sentinel_credentials: Credentials = Credentials()


def parse_server_url(text: str) -> ServerUrl:
    """Raises ValueError with what is wrong and the remedy; never shows user or password."""
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError(f"it is not a URL; give one that begins with {_SCHEMES}") from None
    transport, _, how = parts.scheme.partition("+")
    options = _options(parts)
    if parts.scheme == "unix":
        return _unix(parts, options)
    if transport not in ("redis", "rediss") or how not in ("", "sentinel", "cluster"):
        raise ValueError(f"give a URL that begins with {_SCHEMES}")
    kind = Kind(how) if how else Kind.FIXED
    allowed = (*_TLS_OPTIONS, *(_SENTINEL_OPTIONS if kind is Kind.SENTINEL else ()), "db")
    _refuse_unknown(options, allowed)
    tls = _tls(options) if transport == "rediss" else None
    if tls is None and any(name in options for name in _TLS_OPTIONS):
        raise ValueError("ssl_ and server_name options need TLS: begin with rediss instead of redis")
    credentials, hosts = _hosts(parts, _SENTINEL_PORT if kind is Kind.SENTINEL else _PORT)
    path = [unquote(part) for part in parts.path.split("/")[1:] if part]
    master = ""
    if kind is Kind.SENTINEL:
        if not path:
            raise ValueError(
                "name the master after the hosts: redis+sentinel://one:26379,two:26379/mymaster, as in `sentinel monitor mymaster`"
            )
        master = path.pop(0)
    elif kind is Kind.FIXED and len(hosts) != 1:
        raise ValueError("several hosts need redis+sentinel:// or redis+cluster://")
    if len(path) > 1:
        raise ValueError(f"too many parts after the host; {EXAMPLE}")
    db = _database(path[0] if path else options.get("db", "0"))
    if kind is Kind.CLUSTER and db:
        raise ValueError("a cluster has database 0 only: leave the number out")
    seeds = tuple(Endpoint(host, port, db=db, tls=tls, credentials=credentials) for host, port in hosts)
    sentinel = Credentials(options.get("sentinel_username"), options.get("sentinel_password"))
    return ServerUrl(kind, seeds, master, sentinel)


def _unix(parts: SplitResult, options: dict[str, str]) -> ServerUrl:
    _refuse_unknown(options, ("db", "username", "password"))
    if not parts.path:
        raise ValueError("name the socket: unix:///run/redis/redis.sock")
    userinfo, at, _ = parts.netloc.rpartition("@")
    credentials = _credentials(userinfo) if at else Credentials(options.get("username"), options.get("password"))
    endpoint = Endpoint(path=unquote(parts.path), db=_database(options.get("db", "0")), credentials=credentials)
    return ServerUrl(Kind.FIXED, (endpoint,))


def _options(parts: SplitResult) -> dict[str, str]:
    return dict(parse_qsl(parts.query, keep_blank_values=True))


def _refuse_unknown(options: dict[str, str], allowed: tuple[str, ...]) -> None:
    for name in options:
        if name not in allowed:
            raise ValueError(f"it has no option {name}; there are {', '.join(allowed)}")


def _tls(options: dict[str, str]) -> Tls:
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        raise ValueError("ssl_keyfile needs ssl_certfile beside it")
    return Tls(*(options.get(name) for name in _TLS_OPTIONS))


def _hosts(parts: SplitResult, default_port: int) -> tuple[Credentials, list[tuple[str, int]]]:
    userinfo, at, rest = parts.netloc.rpartition("@")
    hosts = [_host(each.strip(), default_port) for each in rest.split(",")]
    return _credentials(userinfo) if at else Credentials(), hosts


def _credentials(userinfo: str) -> Credentials:
    username, colon, password = userinfo.partition(":")
    if not colon:
        raise ValueError("what stands before the @ is user:password, or :password for the default user")
    return Credentials(unquote(username) or None, unquote(password))


def _host(text: str, default_port: int) -> tuple[str, int]:
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError("an IPv6 address stands in brackets: redis://[::1]:6379/0")
        port = port[1:]
    else:
        host, _, port = text.partition(":")
    if not host:
        raise ValueError(f"a host is missing; {EXAMPLE}")
    if not port:
        return host, default_port
    if not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError("a port is a number from 1 to 65535; a password with @ : / or ? in it is percent-encoded")
    return host, int(port)


def _database(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5:
        raise ValueError(f"the database is a number; {EXAMPLE}")
    return int(text)
