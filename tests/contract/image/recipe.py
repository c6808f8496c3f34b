"""The Dockerfile, read: stages and their instructions."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
DOCKERFILE = PROJECT / "Dockerfile"


@dataclass
class Stage:
    """One FROM and what follows it; `instructions` are (word, rest)."""

    base: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        return [rest for found, rest in self.instructions if found == word]

    def one(self, word: str) -> str:
        """Raises ValueError unless the instruction is there once."""
        (found,) = self.all(word)
        return found

    def environment(self) -> dict[str, str]:
        """What ENV sets."""
        words = [word for rest in self.all("ENV") for word in shlex.split(rest)]
        return dict(word.partition("=")[::2] for word in words)


def read(text: str) -> tuple[dict[str, str], list[Stage]]:
    """Global ARGs with their defaults, and the stages in their order."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in joined.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word.upper() == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(base, name))
        elif word and stages:
            stages[-1].instructions.append((word.upper(), rest.strip()))
        elif word.upper() == "ARG":
            name, _, default = rest.partition("=")
            arguments[name] = default
    return arguments, stages
