"""Whoever copies the commands of README and guide gets what the page says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
GUIDE = {path.name for path in (ROOT / "docs" / "guide").glob("*.md")}
NAMES = ["README.md", *sorted(GUIDE - {"05-kubernetes.md"})]
"""The page about Kubernetes is followed in a cluster: tests/cluster/test_guide.py."""


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(shutil.which, ("bash", "curl"))) or not os.path.exists("/dev/null"),
    reason="the documents use bash and curl",
)
@pytest.mark.timeout(280)
@pytest.mark.parametrize("name", NAMES)
def test_document_followed_to_its_end_does_what_it_shows(name: str, followed: Any) -> None:
    reader = followed[name]
    for entry in reader.transcript:
        if "(not run: " in entry:
            print(name, entry)  # noqa: T201  the reason why a command was left out
    assert not reader.problems, "\n".join(reader.problems)
    assert reader.transcript, f"{name} has no command to follow"


def test_document_that_shows_what_is_printed_has_no_problems(problems_of: Callable[[str], list[str]]) -> None:
    page = "```console\n$ A=hello\n$ echo $A 12.50 USDT\nhello 7 USDT\n```\n\n<!-- exit 3 -->\n```console\n$ (exit 3)\n```\n"
    assert problems_of(page) == []


def test_document_that_shows_something_else_is_found_out(problems_of: Callable[[str], list[str]]) -> None:
    assert "no output like 'goodbye'" in problems_of("```console\n$ echo hello\ngoodbye\n```\n")[0]


def test_document_whose_command_fails_is_found_out(problems_of: Callable[[str], list[str]]) -> None:
    assert "exit code 4, not 0" in problems_of("```bash\n$ (exit 4)\n```\n")[0]


def test_document_whose_comment_names_what_it_does_not_show_is_found_out(
    problems_of: Callable[[str], list[str]],
) -> None:
    assert "the comment names ['x']" in problems_of("<!-- shows: x -->\n```console\n$ echo x\n```\n")[0]
