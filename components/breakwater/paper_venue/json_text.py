"""JSON that people write for the venue: read so that a mistake is named with its line and field."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TypeVar

import msgspec

from breakwater.runtime import strict_yaml

MOST_BYTES = strict_yaml.MOST_BYTES
T = TypeVar("T")

_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?$", re.DOTALL)


class JsonTextError(Exception):
    """A text that cannot be read. It names source, line and field, and says what to write."""


def read_text(path: Path, error: type[JsonTextError]) -> bytes:
    """The content of a file, of at most one byte more than is taken. Raises ``error``."""
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as why:
        raise error(f"{path}: cannot be read: {why.strerror}; check the path") from None


class JsonText:
    """``content`` with the line of each field. ``source`` is named in errors, ``whole`` says what it should be ("a plan")."""

    def __init__(self, content: bytes, source: str, whole: str, error: type[JsonTextError]) -> None:
        self._content, self._source, self._whole, self._error = content, source, whole, error
        if len(content) > MOST_BYTES:
            raise error(f"{source}: is over {MOST_BYTES} bytes long; {whole} is shorter")
        try:
            text = content.decode("utf-8")
            json.loads(text)
        except UnicodeDecodeError as why:
            raise error(f"{source}: byte {why.start} is not UTF-8: save it as UTF-8 text") from None
        except json.JSONDecodeError as why:
            raise error(
                f"{source}: line {why.lineno}: this is not JSON: {why.msg}; check commas, quotes and brackets there"
            ) from None
        except (RecursionError, ValueError):
            raise error(f"{source}: this is not {whole}: it cannot be read as JSON") from None
        self._lines = self._lines_of(text)

    def decode(self, type_: type[T]) -> T:
        """Raises the error with line and field."""
        try:
            return msgspec.json.decode(self._content, type=type_)
        except msgspec.ValidationError as error:
            found = _PLACE.match(str(error))
            assert found is not None  # it matches every text
            raise self.problem(found["path"] or "", found["what"]) from None

    def problem(self, path: str, what: str) -> JsonTextError:
        """What is wrong with the field at ``path`` (``rules[0].match.nth``)."""
        unknown = re.search(r"unknown field `([^`]+)`", what)
        field = f"{path}.{unknown[1]}".lstrip(".") if unknown else path
        near = field
        while near not in self._lines and near:
            near = near.rpartition(".")[0] if "." in near else ""
        return self._error(f"{self._source}: line {self._lines.get(near, 1)}: {field or self._whole}: {what}")

    def _lines_of(self, text: str) -> dict[str, int]:
        try:
            documents = strict_yaml.read_documents(text.replace("\t", " "))
        except strict_yaml.YamlProblem as error:
            where = f"line {error.line}: " if error.line else ""
            raise self._error(f"{self._source}: {where}{error.problem}; {error.remedy}") from None
        return documents[0].lines if documents else {}
