"""SQL that lists the bill lines or calls behind a part of the difference, for people to run and check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

_LINES: Final = "SELECT * FROM spanledger.bill_lines_detail WHERE {where} ORDER BY period_start"
_CALLS: Final = "SELECT * FROM spanledger.calls WHERE {where} ORDER BY started_at"
_ANSWERED: Final = "lower(if(response_model = '', request_model, response_model))"


def _as_it_stands(model: str) -> Iterable[str]:
    return (model,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Whose the evidence is.

    Attributes:
        org_id: the organisation.
        connection: whose bill.
        providers: who bills through it.
        written: the names, in lower case, under which a model stands on either side.
    """

    org_id: str
    connection: str
    providers: tuple[str, ...]
    written: Callable[[str], Iterable[str]] = _as_it_stands

    def of_models(self, models: Iterable[str], *, calls: bool) -> Sequence[str]:
        """The condition that a line or call is of one of the models, under any of their names."""
        names = {name for model in models if model for name in self.written(model)}
        return among(_ANSWERED if calls else "lower(model)", names)


def list_lines(source: Source, days: tuple[date, date], conditions: Iterable[str]) -> str:
    """Bill lines that touch some days (first and last, both included) and meet every condition."""
    first, last = days
    where = [
        f"org_id = {quoted(source.org_id)}",
        f"connection = {quoted(source.connection)}",
        f"period_end > {quoted(str(first))} AND period_start < {quoted(str(last + timedelta(days=1)))}",
        "charge != 'memo'",
        *conditions,
    ]
    return _LINES.format(where=" AND ".join(where))


def list_calls(source: Source, days: tuple[date, date], conditions: Iterable[str]) -> str:
    """Calls that started on some days (first and last, both included) and meet every condition."""
    first, last = days
    where = [
        f"org_id = {quoted(source.org_id)}",
        *among("provider", source.providers),
        f"started_at >= {quoted(str(first))} AND started_at < {quoted(str(last + timedelta(days=1)))}",
        *conditions,
    ]
    return _CALLS.format(where=" AND ".join(where))


def among(column: str, values: Iterable[str]) -> Sequence[str]:
    """The condition that a column is one of the values that are named; none where no value is."""
    named = sorted({value for value in values if value})
    return (f"{column} IN ({', '.join(quoted(value) for value in named)})",) if named else ()


def quoted(value: str) -> str:
    """A text as an SQL literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
