"""A desk to command: a real state directory and a real HTTP server, with canned answers behind it."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from breakwater.cli.main import main
from breakwater.desk.rundir import RunDir


@dataclass
class FakeDesk:
    """``answers``: (method, path) -> (status, object). ``received`` holds what came in, token included."""

    url: str = ""
    answers: dict[tuple[str, str], tuple[int, Any]] = field(default_factory=dict)
    received: list[tuple[str, str, str, bytes]] = field(default_factory=list)
    token: str = ""


@dataclass
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[FakeDesk]:
    """A desk that runs from ``tmp_path / "state"``."""
    fake = FakeDesk()

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.partition("?")[0]
            token = self.headers.get("Authorization", "")
            fake.received.append((self.command, self.path, token, body))
            status, content = fake.answers.get((self.command, path), (404, {"detail": "Not Found"}))
            if self.command == "POST" and token != f"Bearer {fake.token}":
                status, content = 401, {"detail": "no"}
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _answer

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    run_dir = RunDir(tmp_path / "state")
    run_dir.claim()
    fake.token = run_dir.token()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    run_dir.publish(url=fake.url, desk="main", started_at=datetime(2026, 1, 1, tzinfo=UTC))
    yield fake
    run_dir.release()
    server.shutdown()
    server.server_close()
    serving.join()


@pytest.fixture
def breakwater(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Runs the command as a person would, in ``tmp_path``, with the state directory ``state``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BREAKWATER_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        out, err = capfd.readouterr()
        code = ended.value.code
        return Outcome(code if isinstance(code, int) else 0 if code is None else 1, out, err)

    return run
