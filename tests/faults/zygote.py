"""Starts the children of the fault matrix fast: a process that has imported everything, and forks.

Commands on standard input, one JSON object a line, answered by one line each; ``{"exit": pid, "code": n}`` whenever a child ended.
It lives in a mount namespace of its own where the system allows that, so that a tiny disk can be mounted that nobody else sees.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from tests.faults import children

_CLONE_NEWNS = 0x0002_0000
_MS_REC_PRIVATE = 0x4000 | 1 << 18
_PR_SET_PDEATHSIG = 1


class Zygote:
    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._private = False
        if sys.platform == "linux" and self._libc.unshare(_CLONE_NEWNS) == 0:
            self._private = self._libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None) == 0

    def serve(self) -> None:
        signal.signal(signal.SIGCHLD, lambda *_: self._reap())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        say({"ready": True})
        for line in sys.stdin:
            command = json.loads(line)
            say(getattr(self, command.pop("do"))(**command))

    def fork(self, role: str, arguments: dict[str, Any], log: str) -> dict[str, Any]:
        parent = os.getpid()
        if pid := os.fork():
            return {"pid": pid}
        code = 70
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if sys.platform == "linux":
                self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(0)
            null = os.open(os.devnull, os.O_RDONLY)
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            for fd, target in ((null, 0), (out, 1), (out, 2)):
                os.dup2(fd, target)
            code = asyncio.run(children.ROLES[role](arguments))
        except BaseException:  # noqa: BLE001 -- whatever it is: it is said, and the child ends here
            traceback.print_exc()
        finally:
            os._exit(code)

    def mount(self, path: str, size: int) -> dict[str, Any]:
        """A disk of that size at ``path``; ``kind`` is empty where it cannot be had."""
        options = f"size={size}".encode()
        done = self._private and self._libc.mount(b"tmpfs", path.encode(), b"tmpfs", 0, options) == 0
        return {"kind": "tmpfs" if done else ""}

    def fill(self, path: str) -> dict[str, Any]:
        """Leave no byte free on the disk that holds ``path``."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        step = 1 << 22
        try:
            while step:
                try:
                    os.posix_fallocate(fd, os.fstat(fd).st_size, step)
                except OSError:
                    step >>= 1
        finally:
            os.close(fd)
        return {"filled": os.stat(path).st_size}

    def free(self, path: str) -> dict[str, Any]:
        Path(path).unlink(missing_ok=True)
        return {}

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            say({"exit": pid, "code": os.waitstatus_to_exitcode(status)})


def say(answer: dict[str, Any]) -> None:
    os.write(1, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    Zygote().serve()
