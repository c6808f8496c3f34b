"""What is wrong with a manifest, all of it at once, each with the field and the remedy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ManifestProblem:
    """One thing that is wrong. ``path`` is the field (``spec.limits.maxLeverage``), empty when the whole file is meant."""

    file: str
    problem: str
    remedy: str = ""
    path: str = ""
    document: int | None = None
    """Which YAML document of the file, from 1."""
    line: int | None = None

    def __str__(self) -> str:
        where = self.file
        if self.line is not None:
            where += f":{self.line}"
        if self.document is not None:
            where += f" (document {self.document})"
        named = f"{self.path} " if self.path else ""
        separator = "" if not self.remedy else ": " if not self.problem.endswith(":") else " "
        return f"{where}: {named}{self.problem}{separator}{self.remedy}"


class ManifestError(Exception):
    """The manifests are refused; nothing of them was taken. ``problems`` holds every reason, in reading order."""

    def __init__(self, problems: list[ManifestProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))
