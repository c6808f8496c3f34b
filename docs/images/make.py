"""Make docs/images/desk.png: the page of a real desk whose emergency stop has just tripped in the built-in crash.

    .venv/bin/python docs/images/make.py

Starts `breakwater up` at 60 times speed in a directory of its own, waits about five minutes for the synthetic market's
crash (4 hours of market time after its start), and takes the picture with a headless Chromium. Needs `chromium` on PATH.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import aiohttp

IMAGE = Path(__file__).resolve().with_name("desk.png")
PATIENCE_SECONDS = 420
LARGEST_BYTES = 200_000
WIDTH, HEIGHT = 1280, 884
BREAKWATER = str(Path(sys.executable).with_name("breakwater"))


def main() -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("no chromium on PATH: install it, then run this again")
    with tempfile.TemporaryDirectory(prefix="breakwater-picture-") as directory:
        state = Path(directory) / "desk"
        desk = subprocess.Popen(
            [
                BREAKWATER,
                *["up", "--market", "synthetic:1", "--speed", "60", "--signals", "long", "--port", "0", "--state-dir"],
                str(state),
            ]
        )
        try:
            url = wait_for_trip(state)
            with tempfile.TemporaryDirectory(prefix="breakwater-browser-") as profile:
                asyncio.run(take(browser, profile, url))
        finally:
            desk.send_signal(signal.SIGINT)
            desk.wait(timeout=30)
    size = IMAGE.stat().st_size
    if size > LARGEST_BYTES:
        sys.exit(f"{IMAGE.name} has {size} bytes: more than {LARGEST_BYTES}")


def wait_for_trip(state: Path) -> str:
    """The desk's address, once its stop has tripped and the desk is flat."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        time.sleep(0.5)
        with contextlib.suppress(OSError, ValueError):
            url: str = json.loads((state / "desk.json").read_text())["url"]
            if read(f"{url}/v1/status")["stop"]["state"] == "COOLING_DOWN":
                return url
    sys.exit("the stop did not trip: nothing to take a picture of")


def read(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


async def take(browser: str, profile: str, url: str) -> None:
    """Open the page, let its stream fill it, and save the upper part. Spoken to over the browser's DevTools protocol."""
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--remote-debugging-port=0",
    ]
    words = [browser, *options, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)  # noqa: ASYNC220  nothing else runs here
    try:
        assert process.stderr is not None
        address = next(line.split("ws://")[1].split("/")[0] for line in process.stderr if "ws://" in line)
        async with aiohttp.ClientSession() as session:
            tabs = await (await session.get(f"http://{address}/json")).json()
            tab = next(each for each in tabs if each["type"] == "page")
            async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as devtools:
                screen = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
                await call(devtools, 1, "Emulation.setDeviceMetricsOverride", **screen)
                await call(devtools, 2, "Emulation.setScrollbarsHidden", hidden=True)
                await call(devtools, 3, "Page.navigate", url=url)
                await asyncio.sleep(3)
                shot = await call(devtools, 4, "Page.captureScreenshot", format="png")
        IMAGE.write_bytes(base64.b64decode(shot["data"]))
    finally:
        process.terminate()
        process.wait(timeout=10)


async def call(
    devtools: aiohttp.ClientWebSocketResponse, number: int, method: str, **parameters: Any
) -> dict[str, Any]:
    await devtools.send_json({"id": number, "method": method, "params": parameters})
    while True:
        answer = await devtools.receive_json(timeout=30)
        if answer.get("id") == number:
            return dict(answer["result"])


if __name__ == "__main__":
    main()
