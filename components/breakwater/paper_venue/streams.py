"""WebSocket sessions without sockets: subscriptions in, JSON text out through a callback.

Messages are collected while the venue works and delivered afterwards by `flush`, so a callback always sees a
consistent venue and may call it again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import msgspec

from breakwater.paper_venue.channels import NAMES, OF_ALL, Group, group_of
from breakwater.paper_venue.errors import StreamRefused
from breakwater.paper_venue.model import Now
from breakwater.paper_venue.wire import Json

OnMessage = Callable[[str], None]
OnClose = Callable[[], None]

_PATH = re.compile(r"^(?:/(public|market|private))?/(ws|stream)(?:/([^?]*))?$")
_CONNECTION_NUMBER = re.compile(r"^\d{1,4}$")
MAX_STREAMS = 1024
MAX_REQUESTS_PER_S = 10
LONGEST_LIFE_MS = 24 * 3_600_000
"""A connection is cut when it is this old (wall time)."""

_encoder = msgspec.json.Encoder()


def dumps(message: object) -> str:
    return _encoder.encode(message).decode()


class StreamSession:
    """One connection. Give incoming text to `receive`, and call `close` when the peer is gone."""

    def __init__(
        self,
        hub: StreamHub,
        on_message: OnMessage,
        *,
        combined: bool,
        on_close: OnClose | None,
        group: Group | None = None,
        opened_wall_ms: int = 0,
    ) -> None:
        self._hub = hub
        self._on_message = on_message
        self.on_close = on_close
        self.combined = combined
        self.group = group
        """None for a path without one, which serves everything."""
        self.opened_wall_ms = opened_wall_ms
        self._second = 0
        self._requests = 0
        self.streams: set[str] = set()
        self.listen_keys: set[str] = set()
        self.closed = False

    def receive(self, text: str, now: Now | None = None) -> None:
        """Handle SUBSCRIBE, UNSUBSCRIBE and LIST_SUBSCRIPTIONS; anything else gets an error reply. Who asks too often is cut."""
        if now is not None and self._too_often(now.wall_ms // 1000):
            self._hub.hang_up(self)
            return
        self._hub.request(self, text)
        self._hub.flush()

    def _too_often(self, second: int) -> bool:
        self._requests = self._requests + 1 if second == self._second else 1
        self._second = second
        return self._requests > MAX_REQUESTS_PER_S

    def deliver(self, text: str) -> None:
        if not self.closed:
            self._on_message(text)

    def close(self) -> None:
        """Forget the connection. Safe to call twice."""
        self.closed = True
        self._hub.forget(self)


class StreamHub:
    """All open sessions, and who listens to what."""

    def __init__(self, symbols: tuple[str, ...], account_of_listen_key: Callable[[str], str | None]) -> None:
        self._symbols = {symbol.lower() for symbol in symbols}
        self._account_of = account_of_listen_key
        self._sessions: list[StreamSession] = []
        self._listeners: dict[str, list[StreamSession]] = {}
        self._outbox: list[tuple[StreamSession, str]] = []
        self._flushing = False
        self.on_callback_error: Callable[[Exception], None] | None = None
        """Told when a connection's callback raised (the connection is closed). Unset, the error is raised."""

    def open(
        self, path_with_query: str, on_message: OnMessage, on_close: OnClose | None, wall_ms: int = 0
    ) -> StreamSession:
        """Open a session on one of the exchange's paths. Raises StreamRefused."""
        parts = urlsplit(path_with_query)
        match = _PATH.match(parts.path.rstrip("/"))
        if match is None:
            raise StreamRefused(
                404, f"There are no streams at {parts.path}: use /ws, /stream, or /public|market|private/ws"
            )
        session = StreamSession(
            self,
            on_message,
            combined=match.group(2) == "stream",
            on_close=on_close,
            group=Group(match.group(1)) if match.group(1) else None,
            opened_wall_ms=wall_ms,
        )
        query = parse_qs(parts.query)
        wanted = [name for value in query.get("streams", []) for name in value.split("/")]
        wanted += query.get("listenKey", [])
        tail = match.group(3)
        if tail and not _CONNECTION_NUMBER.match(tail):
            wanted += tail.split("/")
        for name in wanted:
            problem = self._add(session, name)
            if problem:
                self.forget(session)
                raise StreamRefused(400, problem)
        self._sessions.append(session)
        return session

    def _add(self, session: StreamSession, name: str) -> str | None:
        """Subscribe a session. Returns what is wrong with the stream's name, if anything."""
        symbol, _, channel = name.partition("@")
        if not channel and name not in OF_ALL:
            if self._account_of(name) is None:
                return f"unknown listenKey {name[:8]}...: create one with POST /fapi/v1/listenKey"
            if session.group in (None, Group.PRIVATE):
                session.listen_keys.add(name)
            return None
        group = OF_ALL.get(name)
        if group is None and symbol not in self._symbols:
            return f"unknown stream {name}: {symbol or 'nothing'} is not a listed symbol in lower case"
        group = group or group_of(channel)
        if group is None:
            return f"unknown stream {name}: this venue serves {NAMES}"
        if len(session.streams) >= MAX_STREAMS:
            return f"more than {MAX_STREAMS} streams on one connection"
        if name not in session.streams:
            session.streams.add(name)
            if session.group in (None, group):
                self._listeners.setdefault(name, []).append(session)
        return None

    def _remove(self, session: StreamSession, name: str) -> None:
        session.listen_keys.discard(name)
        if name in session.streams:
            session.streams.discard(name)
            left = [other for other in self._listeners.get(name, ()) if other is not session]
            if left:
                self._listeners[name] = left
            else:
                self._listeners.pop(name, None)

    def request(self, session: StreamSession, text: str) -> None:
        """Answer one incoming message of a session."""
        try:
            message = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            self._reply_error(session, None, "Invalid JSON")
            return
        if not isinstance(message, dict):
            self._reply_error(session, None, "Invalid request: an object is needed")
            return
        request_id = message.get("id")
        method = message.get("method")
        params = message.get("params")
        names = params if isinstance(params, list) and all(isinstance(p, str) for p in params) else None
        if method == "LIST_SUBSCRIPTIONS":
            listed = sorted(session.streams | session.listen_keys)
            self._outbox.append((session, dumps({"result": listed, "id": request_id})))
            return
        if method not in ("SUBSCRIBE", "UNSUBSCRIBE") or names is None:
            self._reply_error(
                session, request_id, "Invalid request: SUBSCRIBE or UNSUBSCRIBE needs params, a list of stream names"
            )
            return
        for name in names:
            if method == "UNSUBSCRIBE":
                self._remove(session, name)
                continue
            problem = self._add(session, name)
            if problem:
                self._reply_error(session, request_id, f"Invalid request: {problem}")
                return
        self._outbox.append((session, dumps({"result": None, "id": request_id})))

    def _reply_error(self, session: StreamSession, request_id: object, text: str) -> None:
        self._outbox.append((session, dumps({"error": {"code": 2, "msg": text}, "id": request_id})))

    # -- publishing ----------------------------------------------------------------------------------------

    def wants(self, stream: str) -> bool:
        """Whether anybody listens, so that nothing is built for nobody."""
        return stream in self._listeners

    def listeners(self, stream: str) -> int:
        """How many connections get a stream."""
        return len(self._listeners.get(stream, ()))

    def wanted(self, beginning: str) -> list[str]:
        """Streams somebody listens to whose names begin so."""
        return [stream for stream in self._listeners if stream.startswith(beginning)]

    @property
    def user_connections(self) -> int:
        """How many open connections carry an account's events."""
        return sum(1 for session in self._sessions if session.listen_keys)

    def publish(self, stream: str, event: Json) -> None:
        """Queue a market event for its listeners."""
        self._queue(self._listeners.get(stream, ()), stream, event)

    def publish_list(self, stream: str, events: list[Json]) -> None:
        """Queue one message with several events."""
        self._queue(self._listeners.get(stream, ()), stream, events)

    def publish_user(self, listen_key: str, event: Json) -> None:
        """Queue an account's event for the connections on its listen key."""
        if listen_key:
            self._queue([s for s in self._sessions if listen_key in s.listen_keys], listen_key, event)

    def _queue(
        self, sessions: list[StreamSession] | tuple[StreamSession, ...], stream: str, event: Json | list[Json]
    ) -> None:
        if not sessions:
            return
        text = dumps(event)
        wrapped = ""
        for session in sessions:
            if session.combined:
                wrapped = wrapped or f'{{"stream":{dumps(stream)},"data":{text}}}'
            self._outbox.append((session, wrapped if session.combined else text))

    def flush(self) -> None:
        """Deliver what is queued, in order. A callback that raises loses its own connection, nobody else's.

        Raises ExceptionGroup of those errors unless `on_callback_error` takes them.
        """
        if self._flushing:
            return
        self._flushing = True
        failures: list[Exception] = []
        try:
            while self._outbox:
                batch, self._outbox = self._outbox, []
                for session, text in batch:
                    try:
                        session.deliver(text)
                    except Exception as error:  # noqa: BLE001 - the venue outlives a broken peer; raised below
                        session.close()
                        failures.append(error)
        finally:
            self._flushing = False
        if self.on_callback_error is not None:
            for failure in failures:
                self.on_callback_error(failure)
        elif failures:
            raise ExceptionGroup("stream callbacks failed", failures)

    def forget(self, session: StreamSession) -> None:
        for name in list(session.streams):
            self._remove(session, name)
        session.listen_keys.clear()
        if session in self._sessions:
            self._sessions.remove(session)

    def disconnect_all(self) -> None:
        """Close every connection from the venue's side, as an exchange that restarts does."""
        for session in list(self._sessions):
            self.hang_up(session)

    def cut_old(self, wall_ms: int) -> None:
        """Close the connections that have lived for 24 hours."""
        # Sessions are in the order in which they came.
        while self._sessions and wall_ms - self._sessions[0].opened_wall_ms >= LONGEST_LIFE_MS:
            self.hang_up(self._sessions[0])

    @staticmethod
    def hang_up(session: StreamSession) -> None:
        """Close one connection from the venue's side."""
        session.close()
        if session.on_close is not None:
            session.on_close()
