"""A peer in a process of its own: one JSON object a line in, one out."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.benchmarks.peers.venvs import PeerSpec, PeerUnavailable, peer_python

HERE = Path(__file__).resolve().parent
ENDING_SECONDS = 30


class Peer:
    """``with Peer(NAUTILUS) as peer: peer.ask("verdict", ...)``. Entering raises PeerUnavailable."""

    def __init__(self, spec: PeerSpec) -> None:
        self._spec = spec
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Peer:
        python = peer_python(self._spec)
        script = HERE / f"{self._spec.name}_peer.py"
        # -E: our PYTHONPATH must not put this project in the place of the peer's own packages.
        self._process = subprocess.Popen(
            [str(python), "-E", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE,
        )
        try:
            version = self.ask("version")
        except BaseException:
            self.close()
            raise
        if version != self._spec.version:
            self.close()
            raise PeerUnavailable(f"{self._spec.name} is {version}, pinned is {self._spec.version}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process; again does nothing."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(timeout=ENDING_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def ask(self, what: str, **arguments: Any) -> Any:
        """The peer's answer. Raises PeerUnavailable when it dies, RuntimeError when it says that it failed."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps({"ask": what, **arguments}) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise PeerUnavailable(f"{self._spec.name} ended with {process.wait()} when asked for {what!r}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self._spec.name} could not answer {what!r}: {answer['error']}")
        return answer["answer"]
