"""TOML and YAML with exact numbers and with the line of every field."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, cast

Path_ = tuple[str | int, ...]
"""Keys and list positions from the root to a value."""


class DocumentError(ValueError):
    """A file cannot be read or parsed; ``line`` is 1 when no place is known."""

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.message: Final = message
        self.line: Final = line


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file. Numbers with a point are ``Decimal``."""

    text: str
    values: dict[str, object]
    lines: dict[Path_, int]

    def line(self, at: Path_) -> int:
        """The line of a value, or of the nearest thing around it."""
        while at and at not in self.lines:
            at = at[:-1]
        return self.lines.get(at, 1)


def read(path: Path) -> Document:
    """Parse a ``.toml``, ``.yaml`` or ``.yml`` file.

    Raises:
        DocumentError: no such file, not UTF-8, another suffix, not well-formed, or nested without end.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows' editors begin a file with a byte order mark
    except OSError as error:
        raise DocumentError(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DocumentError("is not UTF-8 text") from error
    readers = {".toml": _read_toml, ".yaml": _read_yaml, ".yml": _read_yaml}
    if path.suffix not in readers:
        raise DocumentError("must be named .toml, .yaml or .yml")
    try:
        return readers[path.suffix](text)
    except RecursionError as error:
        raise DocumentError("is nested too deeply") from error


def _is_deeper(value: object, depth: int) -> bool:
    """Whether a value nests more than so many mappings and lists; how deep parsers go, others in the process decide."""
    level = [value]
    for _ in range(depth):
        level = [inner for outer in level for inner in _members(outer)]
    return any(_members(inner) for inner in level)


def _members(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(cast("dict[str, object]", value).values())
    return cast("list[object]", value) if isinstance(value, list) else []


def _read_toml(text: str) -> Document:
    try:
        values = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at line (\d+), column \d+\)", str(error))
        message = str(error).partition(" (at")[0]
        last = text.count("\n") + 1
        raise DocumentError(f"is not TOML: {message}", int(place[1]) if place else last) from error
    except ValueError as error:  # Python reads no integer of thousands of digits
        line = next((n for n, line in enumerate(text.split("\n"), start=1) if _LONG_NUMBER.search(line)), 1)
        raise DocumentError("has a number that is too long", line) from error
    if _is_deeper(values, _MAX_DEPTH):
        raise DocumentError("is nested too deeply")
    return Document(text, values, _toml_lines(text))


_MAX_DEPTH: Final = 32
_LONG_NUMBER: Final = re.compile(r"[0-9_]{4000}")
_TABLE: Final = re.compile(r"\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(?:#.*)?$")
_KEY_PART: Final = r"(?:[A-Za-z0-9_-]+|\"(?:[^\"\\]|\\.)*\"|'[^']*')"
_KEY: Final = re.compile(rf"\s*({_KEY_PART}(?:\s*\.\s*{_KEY_PART})*)\s*=")
_PART: Final = re.compile(_KEY_PART)
_INLINE_KEY: Final = re.compile(rf"[{{,]\s*({_KEY_PART})\s*=")


def _toml_lines(text: str) -> dict[Path_, int]:
    """Lines of tables and keys. The text is known to be well-formed; values over several lines are skipped over."""
    lines: dict[Path_, int] = {(): 1}
    arrays: dict[Path_, int] = {}
    table: Path_ = ()
    quote = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if quote:
            if quote in line:
                quote = ""
            continue
        header = _TABLE.match(line)
        if header and "=" not in header[2].split('"')[0]:
            name = _resolve_arrays(_parts(header[2]), arrays)
            if header[1] == "[[":
                arrays[name] = arrays.get(name, -1) + 1
                lines.setdefault(name, number)
                name = (*name, arrays[name])
            table = name
            lines.setdefault(table, number)
            continue
        key = _KEY.match(line)
        if key:
            at = (*table, *_parts(key[1]))
            lines.setdefault(at, number)
            for inline in _INLINE_KEY.finditer(line, key.end()):
                lines.setdefault((*at, *_parts(inline[1])), number)
        for mark in ('"""', "'''"):
            if line.count(mark) % 2:
                quote = mark
    return lines


def _parts(dotted: str) -> Path_:
    return tuple(_unquoted(part) for part in _PART.findall(dotted))


def _unquoted(part: str) -> str:
    if part.startswith('"'):
        return str(tomllib.loads(f"key = {part}")["key"])
    return part[1:-1] if part.startswith("'") else part


def _resolve_arrays(name: Path_, arrays: dict[Path_, int]) -> Path_:
    """``rates.per_million`` under the third ``[[rates]]`` → ``("rates", 2, "per_million")``."""
    resolved: Path_ = ()
    for position, part in enumerate(name):
        resolved = (*resolved, part)
        if resolved in arrays and position < len(name) - 1:
            resolved = (*resolved, arrays[resolved])
    return resolved


def _read_yaml(text: str) -> Document:
    try:
        import yaml
    except ImportError as error:
        raise DocumentError("reading YAML needs PyYAML: pip install pyyaml, or write the file as TOML") from error
    try:
        node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark: Any = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "not well-formed"
        raise DocumentError(f"is not YAML: {problem}", mark.line + 1 if mark else 1) from error
    lines: dict[Path_, int] = {(): 1}
    values: object = cast("object", {}) if node is None else _yaml_value(node, (), lines)
    if not isinstance(values, dict):
        raise DocumentError("must be a mapping of sections")
    return Document(text, cast("dict[str, object]", values), lines)


def _yaml_value(node: Any, at: Path_, lines: dict[Path_, int]) -> object:
    """A node's value; scalars by YAML's core tags, numbers exact."""
    lines.setdefault(at, node.start_mark.line + 1)
    if len(at) > _MAX_DEPTH:  # an anchor may be inside itself
        raise DocumentError("is nested too deeply")
    if node.id == "mapping":
        found: dict[str, object] = {}
        for key, value in node.value:
            if key.id != "scalar":
                raise DocumentError("a name must be a plain text", key.start_mark.line + 1)
            name = str(key.value)
            if name in found:
                raise DocumentError(f"{name} stands twice in one mapping", key.start_mark.line + 1)
            lines.setdefault((*at, name), key.start_mark.line + 1)
            found[name] = _yaml_value(value, (*at, name), lines)
        return found
    if node.id == "sequence":
        return [_yaml_value(value, (*at, index), lines) for index, value in enumerate(node.value)]
    return _yaml_scalar(str(node.tag).rpartition(":")[2], str(node.value))


def _yaml_scalar(tag: str, text: str) -> object:
    if tag == "null":
        return None
    if tag == "bool":
        return text.lower() in ("true", "yes", "on")
    if tag in ("int", "float"):
        try:
            return Decimal(text.replace("_", ""))
        except InvalidOperation:
            return text
    if tag == "timestamp":
        try:
            return date.fromisoformat(text)
        except ValueError:
            return text
    return text
