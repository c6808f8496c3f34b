"""``python -m tests.cluster.node --cluster DIR``: run the node agent of the cluster in DIR until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
from pathlib import Path

from tests.cluster.local.layout import Cluster
from tests.cluster.node.agent import Agent


async def _run(root: Path) -> None:
    work = asyncio.create_task(Agent(Cluster.load(root)).run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await work


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.node", description=__doc__)
    parser.add_argument("--cluster", required=True, type=Path, metavar="DIR", help="directory of the cluster")
    parser.add_argument("--debug", action="store_true", help="log more")
    arguments = parser.parse_args()
    level = logging.DEBUG if arguments.debug else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    asyncio.run(_run(arguments.cluster.absolute()))


if __name__ == "__main__":
    main()
