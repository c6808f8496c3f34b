"""The table of values in the chart's README, made from values.yaml: `python -m tests.contract.chart.values_doc` prints it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

VALUES = Path(__file__).resolve().parents[3] / "helm" / "breakwater" / "values.yaml"
_KEY = re.compile(r"^( *)([A-Za-z]+):(.*)$")


def descriptions(text: str) -> dict[str, str]:
    """By dotted path, what the `# -- ` comment above each value says."""
    found: dict[str, str] = {}
    path: list[str] = []
    comment: list[str] | None = None
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# -- "):
            comment = [stripped[5:]]
        elif stripped.startswith("#"):
            if comment is not None:
                comment.append(stripped[1:].strip())
        elif key := _KEY.match(line):
            path = [*path[: len(key[1]) // 2], key[2]]
            if comment is not None:
                found[".".join(path)] = " ".join(comment)
            comment = None
    return found


def leaves(values: Mapping[str, Any], described: Mapping[str, str], prefix: str = "") -> dict[str, Any]:
    """Every value that is set on its own: what is described, and what is no map."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value and path not in described:
            found |= leaves(value, described, f"{path}.")
        else:
            found[path] = value
    return found


def table() -> list[str]:
    """Lines of the table."""
    text = VALUES.read_text()
    described = descriptions(text)
    lines = ["| value | default | what it is |", "|---|---|---|"]
    for path, default in leaves(yaml.safe_load(text), described).items():
        about = described.get(path, "").replace("|", "\\|")
        lines.append(f"| `{path}` | `{json.dumps(default)}` | {about} |")
    return lines


if __name__ == "__main__":
    sys.stdout.write("\n".join(table()) + "\n")
