"""Loopback ranges and ports for a cluster, so that several clusters on one machine never meet.

A slot is held through a locked file that etcd inherits: the kernel frees it when the cluster's last holder is gone,
however it ended.
"""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.local.processes import ClusterError

SLOTS = 16
FIRST_PORT = 20000  # below the range from which the kernel takes source ports
PORTS_PER_SLOT = 200


@dataclass(slots=True)
class Slot:
    """One reserved place. Close it when the cluster's own programs have inherited `lock_fd`."""

    number: int
    lock_fd: int

    @property
    def service_cidr(self) -> str:
        return f"127.{96 + self.number}.0.0/16"

    @property
    def pod_cidr(self) -> str:
        return f"127.{50 + self.number}.0.0/16"

    def ports(self, count: int) -> list[int]:
        """That many TCP ports of this slot that are free on 127.0.0.1 now. Raises ClusterError when there are not."""
        first = FIRST_PORT + self.number * PORTS_PER_SLOT
        free: list[int] = []
        for port in range(first, first + PORTS_PER_SLOT):
            if len(free) == count:
                break
            with socket.socket() as probe, suppress(OSError):
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
                free.append(port)
        if len(free) < count:
            raise ClusterError(
                f"ports {first} to {first + PORTS_PER_SLOT - 1} of 127.0.0.1 are taken; stop what uses them"
            )
        return free

    def close(self) -> None:
        if self.lock_fd >= 0:
            os.close(self.lock_fd)
            self.lock_fd = -1


def reserve(directory: Path) -> Slot:
    """Take the first free slot. Raises ClusterError when 16 clusters run already."""
    directory.mkdir(parents=True, exist_ok=True)
    for number in range(SLOTS):
        descriptor = os.open(directory / f"{number}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        return Slot(number, descriptor)
    raise ClusterError(f"{SLOTS} test clusters run on this machine; stop one with `make cluster-down`")
