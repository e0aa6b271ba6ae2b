"""Where in a TOML text a table or a key stands, for error messages."""

from __future__ import annotations

import re
from typing import Final

_HEADER: Final = re.compile(r"^\s*\[{1,2}\s*([^\[\]]+?)\s*\]{1,2}\s*(?:#.*)?$")
_KEY: Final = re.compile(r"^\s*(\"[^\"]*\"|'[^']*'|[A-Za-z0-9_.-]+)\s*=")


def line_of(text: str, table: str, index: int | None, key: str = "") -> int:
    """The line, from 1, of a key; of the table's head where there is none; 1 where neither is found.

    Args:
        text: valid TOML.
        table: its name, as in ``[table]`` or ``[[table]]``.
        index: which of several ``[[table]]``, from 0; ``None`` for a ``[table]``.
        key: the key, or ``""`` for the table itself.
    """
    head = 1
    current, seen = "", -1
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        if header:
            current = header[1].strip("\"' ")
            if current == table:
                seen += 1
                if index is None or seen == index:
                    head = number
            continue
        found = _KEY.match(line)
        if found is None:
            continue
        name = found[1].strip("\"'")
        if not current and name == table:
            head = number  # an inline table or array
        if current == table and name == key and (index is None or seen == index):
            return number
    return head
