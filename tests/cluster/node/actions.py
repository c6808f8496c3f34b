"""What probes and lifecycle hooks do to a container: run a command in it, ask it over HTTP, connect to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass

import aiohttp
from tests.cluster.node.api import Object


@dataclass(frozen=True)
class Target:
    """A running container. ``ports``: its named ports."""

    pid: int
    pod_ip: str
    ports: dict[str, int]
    environment: dict[str, str]


async def act(action: Object, target: Target, timeout: float) -> tuple[bool, str]:
    """Whether it went well, and what a kubelet would say of it. Waits at most ``timeout`` seconds."""
    if "exec" in action:
        return await run_inside(action["exec"]["command"], target, timeout)
    if "httpGet" in action:
        return await _http(action["httpGet"], target, timeout)
    if "tcpSocket" in action:
        return await _tcp(action["tcpSocket"], target, timeout)
    if "sleep" in action:
        await asyncio.sleep(action["sleep"]["seconds"])
        return True, ""
    return False, f"not supported here: {', '.join(action) or 'no action'}"


async def run_inside(words: list[str], target: Target, timeout: float) -> tuple[bool, str]:
    """Run a command with the container's files and environment."""
    user = ["-U", "--preserve-credentials"] if os.geteuid() else []
    process = await asyncio.create_subprocess_exec(
        "nsenter", *user, "-m", "-u", "-t", str(target.pid), "--", *words,
        env=target.environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = await asyncio.wait_for(process.communicate(), timeout)
    except TimeoutError:
        return False, f'command timed out: "{" ".join(words)}" timed out after {timeout:g}s'
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode == 0, output.decode(errors="replace")[:10_000].strip()


async def _http(action: Object, target: Target, timeout: float) -> tuple[bool, str]:
    host = action.get("host") or target.pod_ip
    scheme = action.get("scheme", "HTTP").lower()
    url = f"{scheme}://{host}:{_port(action['port'], target)}/{action.get('path', '/').lstrip('/')}"
    headers = {"User-Agent": "kube-probe/1.36"}
    headers |= {header["name"]: header["value"] for header in action.get("httpHeaders") or []}
    connector = aiohttp.TCPConnector(ssl=False, force_close=True)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=timeout)) as session,
            session.get(url, headers=headers, allow_redirects=False) as reply,
        ):
            await reply.read()
            if 200 <= reply.status < 400:
                return True, ""
            return False, f"HTTP probe failed with statuscode: {reply.status}"
    except TimeoutError:
        return False, f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
    except aiohttp.ClientConnectorError as error:
        why = os.strerror(error.os_error.errno or 0).lower()
        return False, f'Get "{url}": dial tcp {error.host}:{error.port}: connect: {why}'
    except (aiohttp.ClientError, OSError) as error:
        return False, f'Get "{url}": {error}'


async def _tcp(action: Object, target: Target, timeout: float) -> tuple[bool, str]:
    host, port = action.get("host") or target.pod_ip, _port(action["port"], target)
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), timeout)
    except (TimeoutError, OSError) as error:
        return False, f"dial tcp {host}:{port}: {str(error) or 'i/o timeout'}"
    writer.close()
    return True, ""


def _port(port: int | str, target: Target) -> int:
    """A number, or the name of a port of the container (0, which nobody serves, when there is none of that name)."""
    if isinstance(port, int) or port.isdigit():
        return int(port)
    return target.ports.get(port, 0)
