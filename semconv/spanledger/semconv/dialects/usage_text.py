"""Usage objects as text, JSON or Python's: read by their layout.

An emitter writes the same keys in the same order around other numbers, call after call. Which number is which count is
found out once for a layout (the text without its digits), by parsing the text with numbers that tell their own places;
the next text of that layout gives its numbers by position. Which of them are 0 belongs to the layout, because zeros
decide which of two spellings counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from spanledger.semconv.dialects import values
from spanledger.semconv.dialects.usage_json import Found, from_mapping, from_python_text

MAX_LAYOUTS: Final = 1024
_LONGEST: Final = 2048
_DIGITS: Final = b"0123456789"
_ONLY_DIGITS: Final = bytes(code if code in _DIGITS else 32 for code in range(256))
_NUMBER: Final = re.compile(r"\d+", re.ASCII)
_MOST_DIGITS: Final = 15
_FIRST_PLACE: Final = 10 ** (_MOST_DIGITS - 1)
"""Numbers that tell their places have as many digits as the longest count, and come about in no real object."""

_Parse = Callable[[Any], Found | None]


@dataclass(frozen=True, slots=True)
class _Layout:
    counts: tuple[tuple[str, int], ...]
    """Slot and the place of its number among all numbers of the text."""
    names: tuple[tuple[int, bytes], ...]
    """Digits that are part of a name, by their place: other digits are another name."""
    zeros: dict[str, int]
    input_holds_cache: bool
    output_holds_reasoning: bool
    inference_geo: str


_layouts: Final[dict[tuple[bytes, bool, tuple[int, ...]], _Layout | None]] = {}
"""A cache of what follows from the texts alone; bounded, because others choose them. ``None``: has to be parsed."""


def from_json(value: Any) -> Found | None:
    """Read a usage object that is JSON text, or a map already; ``None`` when it holds no count."""
    return _read(value, False, _parse_json)


def from_python(value: Any) -> Found | None:
    """Read the ``repr`` of a usage object; ``None`` when it holds no count."""
    return _read(value, True, from_python_text)


def _parse_json(value: Any) -> Found | None:
    found = from_mapping(values.mapping(value))
    return found if found.counts else None


def _read(text: Any, is_python: bool, parse: _Parse) -> Found | None:
    if not isinstance(text, str) or len(text) > _LONGEST or not text.isascii():
        return parse(text)
    raw = text.encode()
    numbers = raw.translate(_ONLY_DIGITS).split()
    zeros = tuple([at for at, digits in enumerate(numbers) if digits == b"0"]) if b"0" in numbers else ()
    key = (raw.translate(None, _DIGITS), is_python, zeros)
    layout = _layouts.get(key)
    if layout is not None:
        counts = _counts(layout, numbers)
        if counts is not None:
            return Found(
                counts, layout.input_holds_cache, layout.output_holds_reasoning, inference_geo=layout.inference_geo
            )
    found = parse(text)
    if found is not None and key not in _layouts:
        if len(_layouts) >= MAX_LAYOUTS:
            _layouts.clear()
        _layouts[key] = _learn(text, found, parse)
    return found


def _counts(layout: _Layout, numbers: list[bytes]) -> dict[str, int] | None:
    """The counts among the numbers of a text; ``None`` when it has to be parsed."""
    for at, digits in layout.names:
        if numbers[at] != digits:
            return None
    counts = layout.zeros.copy()
    for slot, at in layout.counts:
        digits = numbers[at]
        if len(digits) > _MOST_DIGITS or digits[0] == 48:  # 0
            return None
        counts[slot] = int(digits)
    return counts


def _learn(text: str, found: Found, parse: _Parse) -> _Layout | None:
    """Where the counts of a text stand; ``None`` when that does not follow from its layout."""
    places: set[int] = set()
    names: list[tuple[int, bytes]] = []
    marked, last = "", 0
    for at, number in enumerate(_NUMBER.finditer(text)):
        before, after = text[number.start() - 1], text[number.end() : number.end() + 1]
        if before in ":, [" and after and after in ",}]":
            if number[0] != "0":
                places.add(at)
                marked += text[last : number.start()] + str(_FIRST_PLACE + at)
                last = number.end()
        elif {before, after} & set(".-+eE"):
            if parse is not from_python_text:
                return None  # an amount, or a count that may be a whole number the next time; as Python text it is none
        else:
            names.append((at, number[0].encode()))
    if parse is not from_python_text and '"cost"' in text:
        return None  # an amount that is a whole number this time
    told = parse(marked + text[last:])
    if told is None or told.counts.keys() != found.counts.keys():
        return None
    counts = [(slot, number - _FIRST_PLACE) for slot, number in told.counts.items() if number]
    if any(at not in places for _, at in counts):
        return None
    zeros = {slot: 0 for slot, number in told.counts.items() if not number}
    return _Layout(
        tuple(counts), tuple(names), zeros, found.input_holds_cache, found.output_holds_reasoning, found.inference_geo
    )
