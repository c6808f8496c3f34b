"""YAML as Kubernetes reads it, without its traps: exact numbers, no anchors, no repeated keys, bounded size and depth.

Plain scalars become Decimal (never float), int, bool, None or str; quoted ones are always text. Where the YAML 1.1 that
kubectl reads would turn a word into something else (``on``, ``010``, ``1_000``), the file is refused or read the same way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import yaml

MOST_BYTES = 256 * 1024
MOST_DEPTH = 32
MOST_NODES = 20_000
MOST_DOCUMENTS = 32

_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]{1,3})?|[-+]?\.[0-9]+([eE][-+]?[0-9]{1,3})?")
_ODD_NUMBER = re.compile(
    r"[-+]?(0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO]?[0-9_]+(\.[0-9_]*)?|[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?"
    r"|\.(inf|Inf|INF))|\.(nan|NaN|NAN)"
)
_TRUE = {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"}
_FALSE = {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"}
_NULL = {"", "~", "null", "Null", "NULL"}


class YamlProblem(Exception):
    """The text cannot be read. ``line`` counts from 1, ``document`` from 1; both None when the whole text is meant."""

    def __init__(self, problem: str, remedy: str, *, line: int | None = None, document: int | None = None) -> None:
        super().__init__(problem)
        self.problem, self.remedy, self.line, self.document = problem, remedy, line, document


@dataclass
class Document:
    """One YAML document. ``lines`` gives the line of each path (``spec.symbols[2]``), counted from 1."""

    number: int
    data: Any = None
    lines: dict[str, int] = field(default_factory=dict)


def read_documents(content: bytes | str) -> list[Document]:
    """Every document that holds anything, in order. Raises YamlProblem at the first thing that cannot be read."""
    raw = content.encode() if isinstance(content, str) else content
    if len(raw) > MOST_BYTES:
        raise YamlProblem(
            f"the text is {len(raw)} bytes long",
            f"a desk's manifests are far below {MOST_BYTES} bytes: give only those",
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise YamlProblem(f"byte {error.start} is not UTF-8", "save the file as UTF-8 text") from None
    try:
        return [document for document in _documents(text) if document.data is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be parsed"
        raise YamlProblem(
            f"this is not YAML: {what}",
            "mend that line; check the indentation, colons and quotes",
            line=mark.line + 1 if mark else None,
        ) from None


def join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


@dataclass
class _Open:
    """A mapping or list that is being read."""

    value: dict[str, Any] | list[Any]
    path: str
    key: str | None = None

    def child_path(self) -> str:
        return join(self.path, self.key or "") if isinstance(self.value, dict) else f"{self.path}[{len(self.value)}]"


def _documents(text: str) -> Iterator[Document]:
    document = Document(0)
    stack: list[_Open] = []
    line = 1

    def fail(problem: str, remedy: str) -> YamlProblem:
        return YamlProblem(problem, remedy, line=line, document=document.number or None)

    for nodes, event in enumerate(yaml.parse(text, Loader=yaml.BaseLoader)):
        line = event.start_mark.line + 1 if event.start_mark else line
        if nodes > MOST_NODES:
            raise fail(f"there are more than {MOST_NODES} values", "give only the desk's own manifests")
        if isinstance(event, yaml.DocumentStartEvent):
            document = Document(document.number + 1)
            if document.number > MOST_DOCUMENTS:
                raise fail(f"there are more than {MOST_DOCUMENTS} documents", "give only the desk's own manifests")
        elif isinstance(event, yaml.DocumentEndEvent):
            yield document
        elif isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise fail("anchors (&name) and aliases (*name) are not read", "write the value out where it is used")
        elif getattr(event, "tag", None) not in (None, "!"):
            raise fail(f"the tag {getattr(event, 'tag', '')} is not read", "remove it")
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            if len(stack) >= MOST_DEPTH:
                raise fail(f"values are nested more than {MOST_DEPTH} deep", "check the brackets and the indentation")
            if stack and isinstance(stack[-1].value, dict) and stack[-1].key is None:
                raise fail("a key is not plain text", "check the brackets and the indentation")
            path = stack[-1].child_path() if stack else ""
            stack.append(_Open({} if isinstance(event, yaml.MappingStartEvent) else [], path))
            document.lines.setdefault(path, line)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            _place(document, stack, stack.pop().value)
        elif isinstance(event, yaml.ScalarEvent):
            if stack and isinstance(stack[-1].value, dict) and stack[-1].key is None:
                if event.value in stack[-1].value:
                    where = join(stack[-1].path, event.value)
                    raise fail(f"{where} is given twice", "remove one of the two")
                stack[-1].key = event.value
                document.lines[join(stack[-1].path, event.value)] = line
            else:
                if stack and isinstance(stack[-1].value, list):
                    document.lines[stack[-1].child_path()] = line
                try:
                    value = _scalar(event.value) if event.style is None else event.value
                except ValueError as error:
                    raise fail(str(error), "write it in plain decimals, or in quotes if it is text") from None
                _place(document, stack, value)


def _place(document: Document, stack: list[_Open], value: Any) -> None:
    if not stack:
        document.data = value
        return
    holder = stack[-1]
    if isinstance(holder.value, list):
        holder.value.append(value)
    else:
        assert holder.key is not None
        holder.value[holder.key], holder.key = value, None


def _scalar(text: str) -> Any:
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _NUMBER.fullmatch(text):
        number = Decimal(text)
        return int(text) if re.fullmatch(r"[-+]?[0-9]{1,30}", text) else number
    if _ODD_NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} means different numbers to different readers")
    return text
