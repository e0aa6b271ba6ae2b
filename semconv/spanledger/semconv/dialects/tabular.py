"""Reads a table of spans by a dialect's table: what `reader.read` says of each of them, worked out once for many.

Most of what a span says is decided by words (provider, operation, models, stop reason, labels), and few combinations of
words occur. Each combination is read once, from one of its spans, by `reader`. What differs from span to span - ids,
times, token counts, costs, who it is for - is checked and copied as columns. Whatever is unusual is left to `reader`:
a value that is no plain text or count, a very small output, rules that look at more than words.

Each combination is checked: the row made of the columns must equal what `reader` made of that span.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from operator import add, gt, ne, sub
from typing import Any, Final

from spanledger.semconv.dialects import reader, tokens
from spanledger.semconv.dialects.plans import Plan
from spanledger.semconv.dialects.table import Draft
from spanledger.semconv.dialects.values import MAX_COUNT, MAX_TEXT, Bad
from spanledger.semconv.observation import Observation
from spanledger.semconv.records import SpanTable
from spanledger.semconv.sheet import Sheet
from spanledger.semconv.usage import TOKEN_CLASSES, Usage, Usages

_COPIED_TEXTS: Final = frozenset(("response_id", "request_id", "session_id", "user_id", "team_id", "feature"))
"""Texts that no rule decides by, except whether there is one; an id that `reader.repair` would move is unusual."""
_COPIED_NUMBERS: Final = frozenset(("ttft_ns", "max_output_tokens", "claimed_cost_usd"))
"""Numbers of which the same holds."""
_UUID_LENGTH: Final = 36
SMALL_OUTPUT: Final = 8
"""Up to so many output tokens, rules look at the count itself: zeros that mean unknown, streams that broke off."""
_LEAST_ALIKE: Final = 8
"""Spans for each combination of words, on average, from which on a table is worth its while."""
_AMBIGUOUS: Final = "ambiguous_input"
_CLASSES: Final = frozenset(TOKEN_CLASSES)
_FIELDS: Final = tuple(f.name for f in fields(Observation) if f.name not in ("org_id", "received_ns"))


@dataclass(slots=True)
class Reading:
    """What a table says.

    Attributes:
        sheet: the observations; ``None`` for none.
        silent: rows that say nothing about a model call.
        unusual: rows that have to be read one by one.
    """

    sheet: Sheet | None = None
    silent: Sequence[int] = ()
    unusual: Sequence[int] = ()


@dataclass(slots=True)
class _Copied:
    """The columns of a table that are copied, by field; which rows that will not do for; what is left to decide."""

    columns: dict[str, Sequence[Any]] = field(default_factory=dict[str, Sequence[Any]])
    counts: dict[str, Sequence[int]] = field(default_factory=dict[str, Sequence[int]])
    unusual: set[int] = field(default_factory=set[int])
    asked: set[str] = field(default_factory=set[str])
    """Attributes in which spans must not differ to be alike."""


@dataclass(slots=True)
class _Kind:
    """Spans that are alike in all that decides: a row of one of them, its draft, and what that one says."""

    row: int
    draft: Draft
    seen: Observation


def read(table: SpanTable, plan: Plan, base: dict[str, Any], base_labels: Mapping[str, str]) -> Reading | None:
    """What the spans of a table say, as `reader.read` would say it; ``None`` when they have to be read one by one."""
    dialect = plan.dialect
    is_plain = plan.tools is None and not plan.guessed and not plan.maps
    if dialect.asks is None or not is_plain or any(others for _, _, others in plan.counts):
        return None
    at = dict(zip(table.names, range(len(table.names)), strict=True))
    copied = _copied(table, plan, at)
    if copied is None:
        return None
    rows: Sequence[int] = range(len(table))
    if copied.unusual:
        rows = [row for row in rows if row not in copied.unusual]
    copied.asked.update(dialect.asks)
    firsts, kind_of = _alike(table, rows, [at[name] for name in table.names if name in copied.asked])
    if len(firsts) * _LEAST_ALIKE > len(table):
        return None
    kinds: list[_Kind | None] = []
    for row in firsts:
        record = table.record(row)
        if plan.text_values is not None and not _are_plain(plan.text_values(record.attributes)):
            return None
        draft = reader.drafted(record, plan, base, base_labels)
        kinds.append(None if draft is None else _Kind(row, draft, reader.finished(record, draft)))
    reading = Reading(unusual=sorted(copied.unusual))
    if None in kinds:
        reading.silent = [row for row, kind in zip(rows, kind_of, strict=True) if kinds[kind] is None]
        pairs = [(row, kind) for row, kind in zip(rows, kind_of, strict=True) if kinds[kind] is not None]
        rows, kind_of = [row for row, _ in pairs], [kind for _, kind in pairs]
    if rows:
        reading.sheet = _sheet(table, copied, kinds, rows, kind_of, is_exact=bool(plan.exact))
        if reading.sheet is None:
            return None
    return reading


def _copied(table: SpanTable, plan: Plan, at: Mapping[str, int]) -> _Copied | None:
    copied = _Copied()
    width = 0
    for slot, names in plan.text_aliases:
        if slot not in _COPIED_TEXTS:
            copied.asked.update(names)
            continue
        column = table.values[at[names[0]]]
        if set(map(type, column)) != {str} or "" in column:
            return None
        width += max(map(len, column))
        copied.columns[slot] = column
        if slot == "response_id":
            special = [row for row, text in enumerate(column) if len(text) == _UUID_LENGTH or text[:4] == "req_"]
            copied.unusual.update(special)
    if width > MAX_TEXT // 2:
        return None
    for slot, name, _ in (*plan.counts, *plan.exact):
        if slot in copied.counts:
            return None
        column = table.values[at[name]]
        copied.unusual.update(_no_counts(column, above=SMALL_OUTPUT if slot == "output" else -1))
        copied.counts[slot] = column
    for slot, name, _, read_value in plan.rest:
        if slot not in _COPIED_NUMBERS:
            copied.asked.add(name)
        elif slot not in copied.columns:  # where the first of several is usable, nobody reads the others
            column = [read_value(value) for value in table.values[at[name]]]
            copied.unusual.update(row for row, value in enumerate(column) if not value or isinstance(value, Bad))
            copied.columns[slot] = column
    copied.asked.update(name for _, name in plan.labels)
    return copied


def _are_plain(texts: Sequence[Any]) -> bool:
    return all(type(text) is str and text for text in texts) and sum(map(len, texts)) <= MAX_TEXT // 2


def _no_counts(column: Sequence[Any], *, above: int) -> list[int]:
    """Rows whose value is no plain count, or not above a limit."""
    if set(map(type, column)) == {int} and min(column) > above and max(column) <= MAX_COUNT:
        return []
    return [row for row, value in enumerate(column) if type(value) is not int or not above < value <= MAX_COUNT]


def _alike(table: SpanTable, rows: Sequence[int], asked: Sequence[int]) -> tuple[list[int], list[int]]:
    """The first row of each combination of what decides, and for each row the number of its combination."""
    deciding: list[Sequence[Any]] = [table.values[at] for at in asked if not table.constant[at]]
    deciding.append(table.kinds)
    firsts: list[int] = []
    kind_of: list[int] = []
    numbers: dict[tuple[int, ...], int] = {}
    # Equal values may differ in type, and some cannot be hashed: only the same object is taken for the same.
    keys = list(zip(*(map(id, column) for column in deciding), strict=True))
    for row in rows:
        number = numbers.setdefault(keys[row], len(firsts))
        if number == len(firsts):
            firsts.append(row)
        kind_of.append(number)
    return firsts, kind_of


def _sheet(
    table: SpanTable,
    copied: _Copied,
    kinds: Sequence[_Kind | None],
    rows: Sequence[int],
    kind_of: Sequence[int],
    *,
    is_exact: bool,
) -> Sheet | None:
    """The rows as columns; ``None`` when that does not give what was read of the kinds."""
    every = len(rows) == len(table)

    def chosen(column: Sequence[Any]) -> Sequence[Any]:
        return column if every else [column[row] for row in rows]

    sheet = Sheet(len(rows))
    places = dict(zip(rows, range(len(rows)), strict=True))
    columns = sheet.columns
    columns |= {
        "trace_id": chosen(table.trace_ids),
        "span_id": chosen(table.span_ids),
        "parent_span_id": chosen(table.parent_span_ids),
        "started_ns": chosen(table.starts),
        "ended_ns": chosen(table.ends),
        **{name: chosen(column) for name, column in copied.columns.items()},
    }
    spoken = [kind for kind in kinds if kind is not None]
    if any(kind.seen.exact_cost_usd is not None for kind in spoken):
        _move_exact(columns, kinds, kind_of)
    if copied.counts:
        counts = {name: chosen(column) for name, column in copied.counts.items()}
        if is_exact:
            columns["usage"] = _exact_usages(counts, kinds, kind_of)
        elif "reasoning" in counts and any(kind.seen.provider == "xai" for kind in spoken):
            return None  # whether output holds reasoning depends on how much there is
        else:
            first = {number: places[kind.row] for number, kind in enumerate(kinds) if kind is not None}
            columns["usage"], columns["notes"] = _usages(counts, kinds, kind_of, first)
    for name in _FIELDS:
        if name not in columns:
            first = getattr(spoken[0].seen, name)
            if all(getattr(kind.seen, name) == first for kind in spoken):
                sheet.same[name] = first
            else:
                said = [None if kind is None else getattr(kind.seen, name) for kind in kinds]
                columns[name] = [said[kind] for kind in kind_of]
    return sheet if all(sheet.row(places[kind.row]) == kind.seen for kind in spoken) else None


def _move_exact(columns: dict[str, Sequence[Any]], kinds: Sequence[_Kind | None], kind_of: Sequence[int]) -> None:
    """Costs that a dialect takes for the provider's own are no claims."""
    claims = columns.get("claimed_cost_usd")
    if claims is not None:
        is_exact = [kind is not None and kind.seen.exact_cost_usd is not None for kind in kinds]
        both = [
            (claim, None) if not is_exact[kind] else (None, claim) for claim, kind in zip(claims, kind_of, strict=True)
        ]
        columns["claimed_cost_usd"], columns["exact_cost_usd"] = [list(side) for side in zip(*both, strict=True)]


def _usages(
    counts: Mapping[str, Sequence[int]], kinds: Sequence[_Kind | None], kind_of: Sequence[int], first: Mapping[int, int]
) -> tuple[Sequence[Usage], list[tuple[str, ...]]]:
    """The usage of each row, from the counts that it reports, and its notes: its kind's, and those of its usage.

    Args:
        counts: by the names in `tokens.COUNTS`.
        kinds: what was read.
        kind_of: the kind of each row.
        first: the place of each kind's first row.
    """
    ways = {
        (kind.draft.input_holds_cache, kind.draft.output_holds_reasoning, kind.draft.partial, kind.draft.estimated)
        for kind in kinds
        if kind is not None
    }
    if len(ways) == 1:
        [(holds_cache, holds_reasoning, partial, estimated)] = ways
        quick = None if partial or estimated else _split(counts, holds_cache, holds_reasoning)
        if quick is not None:
            split, ambiguous = quick
            return split, _notes(kinds, kind_of, first, [(_AMBIGUOUS,) if at else () for at in ambiguous])
    slots = tuple(counts)
    holds = [
        (None, None, False, False)
        if kind is None
        else (kind.draft.input_holds_cache, kind.draft.output_holds_reasoning, kind.draft.partial, kind.draft.estimated)
        for kind in kinds
    ]
    usages: list[Usage] = []
    own_notes: list[list[str]] = []
    for values_, kind in zip(zip(*counts.values(), strict=True), kind_of, strict=True):
        notes: list[str] = []
        holds_cache, holds_reasoning, partial, estimated = holds[kind]
        usages.append(
            tokens.disjoint(
                dict(zip(slots, values_, strict=True)),
                notes,
                input_holds_cache=holds_cache,
                output_holds_reasoning=holds_reasoning,
                partial=partial,
                estimated=estimated,
            )
        )
        own_notes.append(notes)
    return usages, _notes(kinds, kind_of, first, own_notes)


def _notes(
    kinds: Sequence[_Kind | None], kind_of: Sequence[int], first: Mapping[int, int], own: Sequence[Sequence[str]]
) -> list[tuple[str, ...]]:
    """The notes of each row: its kind's words', and its own usage's."""
    of_words: list[tuple[str, ...]] = [
        () if kind is None else kind.seen.notes[: len(kind.seen.notes) - len(own[first[number]])]
        for number, kind in enumerate(kinds)
    ]
    return [(*of_words[kind], *notes) if notes else of_words[kind] for notes, kind in zip(own, kind_of, strict=True)]


def _split(
    counts: Mapping[str, Sequence[int]], holds_cache: bool | None, holds_reasoning: bool | None
) -> tuple[Usages, Sequence[object]] | None:
    """`tokens.disjoint` of whole columns, for what nearly all are; and where what input holds is ambiguous.

    ``None`` where anything contradicts, or arithmetic has to decide.
    """
    if not {"input", "output"} <= counts.keys() <= {"input", "output", "cache_read", "reasoning", "total"}:
        return None
    inputs, outputs = counts["input"], counts["output"]
    read, reasoning, total = counts.get("cache_read"), counts.get("reasoning"), counts.get("total")
    classes = {"input_uncached": inputs, "output_text": outputs}
    ambiguous: Sequence[object] = ()
    if total is not None and any(map(ne, total, map(add, inputs, outputs))):
        return None
    if read is not None:
        classes["cache_read"] = read
        if any(read):
            if holds_cache is False or any(map(gt, read, inputs)):
                return None
            if holds_cache is None and total is None:
                ambiguous = read
            classes["input_uncached"] = list(map(sub, inputs, read))
    if reasoning is not None:
        classes["reasoning"] = reasoning
        if any(reasoning):
            if not holds_reasoning or any(map(gt, reasoning, outputs)):
                return None
            classes["output_text"] = list(map(sub, outputs, reasoning))
    return Usages(len(inputs), classes), ambiguous or bytes(len(inputs))


def _exact_usages(
    counts: Mapping[str, Sequence[int]], kinds: Sequence[_Kind | None], kind_of: Sequence[int]
) -> list[Usage]:
    """The usage of each row, from classes that are disjoint already."""
    classes = {name: column for name, column in counts.items() if name in _CLASSES}
    per_use = {name: column for name, column in counts.items() if name not in _CLASSES}
    guessed = [(False, False) if kind is None else (kind.draft.partial, kind.draft.estimated) for kind in kinds]
    usages: list[Usage] = []
    for row, kind in enumerate(kind_of):
        usage = tokens.from_classes(
            {name: column[row] for name, column in classes.items()},
            {name: column[row] for name, column in per_use.items()},
        )
        partial, estimated = guessed[kind]
        usages.append(replace(usage, partial=partial, estimated=estimated) if partial or estimated else usage)
    return usages
