"""``python -m tests.cluster.local up|down|build``: what `make cluster-up` and `make cluster-down` run."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from tests.cluster.local import build, local_cluster
from tests.cluster.local.layout import Cluster
from tests.cluster.local.processes import ClusterError

DEFAULT_DIR = build.PROJECT / "build" / "cluster"

NEXT = """\
The cluster is up. In your shell (kubectl, helm and the cluster's address):

  . {env}

Then Breakwater and a desk on it:

  helm install breakwater helm/breakwater --wait --timeout 3m
  kubectl apply -f profiles/normal.yaml
  kubectl wait --for=condition=Ready tradingpolicy/main --timeout=180s
  kubectl get tp,estop

Logs are in {logs}. `make cluster-down{down}` stops it.
"""


def shown(path: Path) -> str:
    """Relative to here when it lies below here."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def next_commands(cluster: Cluster) -> str:
    """What a person types next."""
    return NEXT.format(
        env=shown(cluster.env_file),
        logs=shown(cluster.logs_dir),
        down="" if cluster.root == DEFAULT_DIR else f' ARGS="--dir {shown(cluster.root)}"',
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("up", "start a cluster and leave it running"), ("down", "stop it and remove its directory")):
        command = commands.add_parser(name, help=text)
        command.add_argument("--dir", type=Path, default=DEFAULT_DIR, help="the cluster's directory (%(default)s)")
    commands.add_parser("build", help="only build the control plane and fetch helm and kubectl")
    options = parser.parse_args(arguments)
    try:
        if options.command == "build":
            sys.stdout.write(f"{build.binaries()}\n{build.tools()}\n")
        elif options.command == "up":
            plane, _ = local_cluster.up(options.dir)
            sys.stdout.write(next_commands(plane.cluster))
        elif not local_cluster.down(options.dir.absolute()):
            sys.stdout.write(f"no cluster in {shown(options.dir.absolute())}\n")
    except ClusterError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
