"""The store as the chart configures it, run for real: it wants the password, keeps everything, evicts nothing."""

from __future__ import annotations

import base64
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.contract.chart.rendering import pick, rendered

from breakwater.runtime.valkey_server import find_server


class Store:
    """valkey-server with the chart's command and files, below a directory instead of `/`."""

    def __init__(self, directory: Path) -> None:
        objects = rendered("defaults")
        secret = {k: base64.b64decode(v).decode() for k, v in pick(objects, "Secret", "-valkey")["data"].items()}
        self.password = secret["password"]
        (container,) = pick(objects, "StatefulSet", "-valkey")["spec"]["template"]["spec"]["containers"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        config = pick(objects, "ConfigMap", "-valkey")["data"]["valkey.conf"]
        for path in ("/data", "/etc/valkey/auth"):
            (directory / path[1:]).mkdir(parents=True)
            config = config.replace(f" {path}", f" {directory}{path}")
        (directory / "etc/valkey/conf").mkdir()
        (directory / "etc/valkey/conf/valkey.conf").write_text(config.replace("port 6379", f"port {self.port}"))
        (directory / "etc/valkey/auth/auth.conf").write_text(secret["auth.conf"])
        program, *arguments = [str(word) for word in container["command"]]
        assert program == "valkey-server"
        arguments = [word.replace("/etc/", f"{directory}/etc/").replace("0.0.0.0", "127.0.0.1") for word in arguments]
        self._command = [str(find_server()), *arguments]
        self._log = directory / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it answers."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        while True:
            try:
                self.client.ping()
                return
            except (redis.ConnectionError, redis.BusyLoadingError):
                assert self.process.poll() is None, self._log.read_text()
                time.sleep(0.02)

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, password=self.password, decode_responses=True)

    def end(self, how: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(10)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path)
    found.start()
    yield found
    found.end(signal.SIGKILL)


def test_store_refuses_who_has_no_password(store: Store) -> None:
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=store.port).get("anything")


def test_password_is_in_no_list_of_processes(store: Store) -> None:
    assert store.process is not None
    for file in ("cmdline", "environ"):
        assert store.password.encode() not in Path(f"/proc/{store.process.pid}/{file}").read_bytes()


def test_store_is_durable_and_never_evicts(store: Store) -> None:
    settings: Any = store.client.config_get("*")
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "everysec"
    assert settings["maxmemory-policy"] == "noeviction"
    assert int(settings["maxmemory"]) == 256 * 1024**2
    assert settings["bind"] == "127.0.0.1"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_store_has_everything_again_after_it_ended(store: Store, how: signal.Signals) -> None:
    store.client.xadd("s", {"k": "v"})
    code = store.end(how)
    assert how is signal.SIGKILL or code == 0
    store.start()
    assert store.client.xlen("s") == 1
