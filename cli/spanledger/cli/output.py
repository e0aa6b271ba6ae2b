"""Tables for people, JSON for scripts."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from spanledger.semconv import money

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn

WIDTH: Final = 240
_RIGHT: Final = (int, Decimal, float)


def console() -> Console:
    """Where tables and progress go; as wide as needed where nobody looks at a terminal."""
    from rich.console import Console

    class Screen(Console):
        def on_broken_pipe(self) -> None:
            """Leave it to `until_the_reader_leaves`: Rich itself would end the process with code 1."""
            raise BrokenPipeError

    return Screen(highlight=False, width=None if sys.stdout.isatty() else WIDTH)


@contextmanager
def until_the_reader_leaves() -> Generator[None]:
    """Within, output may end early because its reader (``head``, ``less``) has gone: that is no failure."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered must not fail when the process ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def bars(*columns: ProgressColumn, quiet: bool) -> Progress:
    """Progress bars that vanish when done; none when quiet or where nobody looks at a terminal."""
    from rich.progress import Progress

    screen = console()
    return Progress(*columns, console=screen, transient=True, disable=quiet or not screen.is_terminal)


def plain(value: object) -> Any:
    """A JSON-able form of a value: money as a decimal string, times as ISO 8601 in UTC."""
    if isinstance(value, Decimal):
        return money.text(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return value


def print_json(value: Any) -> None:
    """Print one JSON document."""
    sys.stdout.write(json.dumps(value, default=plain, indent=2) + "\n")


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "", right: Collection[str] = ()
) -> None:
    """Print a table; numbers and the columns named by ``right`` stand right, unknown values are a dash."""
    from rich import box
    from rich.table import Table

    kept = [list(row) for row in rows]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    if title:
        say(title + "\n")
    for index, name in enumerate(columns):
        sample = next((row[index] for row in kept if row[index] is not None), "")
        is_right = name in right or (isinstance(sample, _RIGHT) and not isinstance(sample, bool))
        table.add_column(name, justify="right" if is_right else "left", no_wrap=is_right, overflow="fold")
    for row in kept:
        table.add_row(*(cell(value) for value in row))
    console().print(table)


def cell(value: object) -> str:
    """A table cell: plain text, thousands separated, unknown as a dash."""
    from rich.markup import escape

    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return escape(str(plain(value)))


def say(text: str) -> None:
    """Print one line for people at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def warn(text: str) -> None:
    """Print one line on standard error."""
    sys.stderr.write(f"spanledger: {text}\n")
    sys.stderr.flush()


def records(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[Mapping[str, object]]:
    """Rows as JSON objects."""
    return [dict(zip(columns, row, strict=True)) for row in rows]
