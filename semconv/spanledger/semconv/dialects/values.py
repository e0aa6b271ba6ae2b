"""Turning attribute values of any type into what an observation holds.

Emitters send numbers as text, doubles for ints, nested maps, megabytes, NaN. Every reader here returns `BAD` for a
value that makes no sense under its name, ``None`` for one that says nothing (null, empty text); nothing here raises.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final, cast

MAX_COUNT: Final = 2**53
"""Counts beyond are no token counts: JSON writers lose digits there."""
MAX_TEXT: Final = 1024
"""Longer texts are no names or ids; cutting an id would make a wrong one, so they are refused whole."""
MAX_JSON: Final = 262_144
"""JSON inside attributes is parsed up to this many characters."""
_MAX_COST: Final = Decimal(1_000_000)
_LEAST_COST: Final = Decimal("1e-18")
_MAX_WAIT_NS: Final = 86_400_000_000_000


class Bad:
    """The type of `BAD`: there is a value, but it cannot be what its name says."""

    __slots__ = ()


BAD: Final = Bad()

_decode: Final = json.JSONDecoder().raw_decode
"""`json.loads` without its search for white space, which takes as long as parsing a small object."""
_NUMBER: Final = re.compile(r"\s*\+?(\d{1,20})(?:\.0+)?\s*\Z")


def count(value: Any) -> int | Bad | None:
    """A token count or similar: an int from 0 to 2**53, also as an integral double or as text."""
    if type(value) is int:
        return value if 0 <= value <= MAX_COUNT else BAD
    if value is None or value == "":
        return None
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and 0 <= value <= MAX_COUNT and value.is_integer() else BAD
    if isinstance(value, str) and len(value) < 64:
        if len(value) < 16 and value.isdecimal():
            return int(value)
        match = _NUMBER.match(value)
        if match and int(match[1]) <= MAX_COUNT:
            return int(match[1])
    return BAD


def text(value: Any) -> str | Bad | None:
    """A name or id: text without surrounding blanks, an int's digits, or the only element of a list."""
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            return BAD
        return value.strip() or None
    if value is None:
        return None
    if type(value) is int:
        return str(value) if -MAX_COUNT <= value <= MAX_COUNT else BAD
    if isinstance(value, list):
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        if not items:
            return None
        if len(items) == 1 and isinstance(items[0], str):
            return text(items[0])
    return BAD


def amount(value: Any) -> Decimal | Bad | None:
    """US dollars as somebody claims them: a double, an int or decimal text; negative or absurd ones are refused."""
    if isinstance(value, str):
        if not value:
            return None
        if len(value) > 64:
            return BAD
    elif isinstance(value, float):
        value = repr(value)  # a double's shortest text is what its writer meant
    elif type(value) is not int:
        return None if value is None else BAD
    try:
        dollars = Decimal(value)
    except (InvalidOperation, ValueError):
        return BAD
    if not dollars:
        return Decimal(0) if dollars.is_finite() else BAD
    if not dollars.is_finite() or not _LEAST_COST <= dollars <= _MAX_COST:
        return BAD
    return dollars


def flag(value: Any) -> bool | Bad | None:
    """A yes or no: a bool, ``"True"``/``"false"``, 0/1."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        word = value.strip().lower() if len(value) < 16 else ""
        if word in ("true", "1", "yes"):
            return True
        if word in ("false", "0", "no"):
            return False
        return None if value == "" else BAD
    if value in (0, 1):
        return bool(value)
    return BAD


def duration_ns(value: Any, unit_ns: int) -> int | Bad | None:
    """A span of time of up to a day in nanoseconds; ``unit_ns`` is the unit that the attribute counts in."""
    if value is None or value == "":
        return None
    if isinstance(value, str) and len(value) < 64:
        try:
            value = float(value)
        except ValueError:
            return BAD
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return BAD
    if isinstance(value, float) and not math.isfinite(value):
        return BAD
    if not 0 <= value <= _MAX_WAIT_NS / unit_ns:
        return BAD
    return int(value * unit_ns)


def parsed(value: Any) -> Any:
    """A JSON value that stands in an attribute as text, or a map or list as it is; ``None`` when it cannot be read."""
    if isinstance(value, (dict, list)):
        return cast(Any, value)
    if not isinstance(value, str) or not value or len(value) > MAX_JSON:
        return None
    try:
        if value[0] in "{[":
            found, end = _decode(value)
            if end == len(value):
                return found
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def mapping(value: Any) -> dict[str, Any]:
    """Like `parsed`, for a JSON object; empty when it is none."""
    found = parsed(value)
    members: dict[str, Any] = found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]
    return members


def sequence(value: Any) -> list[Any]:
    """Like `parsed`, for a JSON array; empty when it is none."""
    found = parsed(value)
    items: list[Any] = found if isinstance(found, list) else []  # pyright: ignore[reportUnknownVariableType]
    return items


def known_text(value: Any) -> str:
    """Like `text`, ``""`` for what is missing or bad."""
    found = text(value)
    return found if isinstance(found, str) else ""


def is_word(value: str) -> bool:
    """Whether a text can be the name of a kind: letters and underscores."""
    return value.replace("_", "").isalpha()


def unquoted(value: Any) -> Any:
    """The text inside a JSON string (some emitters write every value as JSON); anything else as it is."""
    if isinstance(value, str) and len(value) >= 2 and value[0] == '"' and value[-1] == '"' and len(value) <= MAX_TEXT:
        inner = parsed(value)
        return inner if isinstance(inner, str) else value
    return value


_STOP: Final[Mapping[str, str]] = {
    spelling: word
    for word, spellings in {
        "stop": "stop end_turn complete completed stop_sequence eos eos_token end finish finished stopped",
        "length": "length max_tokens max_output_tokens max_token incomplete model_length token_limit"
        " model_context_window_exceeded",
        "tool_call": "tool_calls tool_call tool-calls tool-call tool_use function_call function_calls",
        "content_filter": "content_filter content-filter content_filtered safety refusal recitation prohibited_content"
        " blocklist spii guardrail_intervened guardrails error_toxic",
        "error": "error failed malformed_function_call error_limit",
        "cancelled": "cancelled canceled user_cancel",
        "pause": "pause_turn",
    }.items()
    for spelling in spellings.split()
}


def stop_reason(value: Any) -> str | Bad | None:
    """Why the answer ended, in one word: stop, length, tool_call, content_filter, error, cancelled, pause, or as sent.

    Takes a word, a list of words (one per choice, or one per chunk: the last one counts) or JSON text of such a list.
    """
    if isinstance(value, list):
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        if len(items) == 1 and isinstance(items[0], str) and len(items[0]) <= 32:
            return _stop_word(items[0])
        words = [word for word in items if isinstance(word, str) and word]
        value = words[-1] if words else None
    if value is None:
        return None
    return _stop_word(value) if isinstance(value, str) and len(value) <= 200 else BAD


@lru_cache(maxsize=512)
def _stop_word(text: str) -> str | Bad | None:
    if text[:1] in ("[", '"'):
        inner = parsed(text)
        return stop_reason(inner) if isinstance(inner, list) or (isinstance(inner, str) and inner != text) else BAD
    word = text.rpartition("FinishReason.")[2].strip().lower()
    return _STOP.get(word, word) or None
