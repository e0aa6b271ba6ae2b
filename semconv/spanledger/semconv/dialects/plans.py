"""What to read from one shape of attributes.

Spans of one emitter come in few shapes (sets of attribute names). What to read from a shape is worked out once and kept
as a `Plan`, so that reading a span costs a look-up and a few list operations; a shape without anything about a model
call has no plan, and such a span is refused by the look-up alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, cast

from spanledger.semconv import names
from spanledger.semconv.dialects import table, tools, unknown, values
from spanledger.semconv.dialects.table import Dialect
from spanledger.semconv.dialects.values import MAX_COUNT, Bad
from spanledger.semconv.usage import TOKEN_CLASSES

_MAX_SHAPES: Final = 8192
_MAX_SHAPE_NAMES: Final = 200_000
_MAX_NAME: Final = 256

_CORE: Final = frozenset(("provider", "operation", "request_model", "response_model", "response_id"))
"""A record without any of these, any count and any claimed cost says nothing about a model call."""

_LABEL: Final = names.LABEL_PREFIX
_EXACT: Final = {names.USAGE_PREFIX + name: name for name in TOKEN_CLASSES}


_MAPPED: Final = ("gen_ai.", "llm.", "ai.", "spanledger.")
_MAX_MEMBERS: Final = 512
_MAX_DEPTH: Final = 6


def _stems(name: str) -> list[str]:
    """``a.b.c`` → ``a``, ``a.b``."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def flattened(attributes: Mapping[str, Any], maps: Sequence[str]) -> dict[str, Any] | None:
    """Attributes with the maps under these names taken apart (``{"gen_ai.usage": {"input_tokens": 3}}``).

    ``None`` where none of them is a map. What stands there under its whole name wins; depth and number are bounded.
    """
    apart = [name for name in maps if isinstance(attributes[name], dict)]
    if not apart:
        return None
    flat = {name: value for name, value in attributes.items() if name not in apart}
    waiting: list[tuple[str, Mapping[str, Any], int]] = [(name, attributes[name], 0) for name in reversed(apart)]
    members = 0
    while waiting:
        stem, inner, depth = waiting.pop()
        for key, value in inner.items():
            members += 1
            if members > _MAX_MEMBERS:
                return flat
            if isinstance(value, dict) and depth < _MAX_DEPTH:
                waiting.append((f"{stem}.{key}", cast("dict[str, Any]", value), depth + 1))
            else:
                flat.setdefault(f"{stem}.{key}", value)
    return flat


def _status_code(value: Any) -> int | Bad | None:
    if type(value) is int and 100 <= value <= 599:
        return value
    code = values.count(value)
    return None if isinstance(code, int) and not 100 <= code <= 599 else code


def _limit(value: Any) -> int | None:
    """A request's output limit; -1, 0 and "Infinity" are how some write that there is none."""
    if type(value) is int and 0 < value <= MAX_COUNT:
        return value
    limit = values.count(value)
    return limit if isinstance(limit, int) and limit else None


def _waiting(unit_ns: int) -> Callable[[Any], int | Bad | None]:
    return lambda value: values.duration_ns(value, unit_ns)


_REST: Final[tuple[tuple[str, str, type | None, Callable[[Any], Any]], ...]] = (
    *(("claimed_cost_usd", name, None, values.amount) for name in table.CLAIMS),
    *(("stop_reason", name, None, values.stop_reason) for name in table.STOP_REASONS),
    *(("is_stream", name, bool, values.flag) for name in table.STREAM_FLAGS),
    *(("http_status", name, None, _status_code) for name in table.HTTP_STATUS),
    *(("max_output_tokens", name, None, _limit) for name in table.MAX_OUTPUT),
    *(("ttft_ns", name, None, _waiting(unit)) for name, unit in table.FIRST_CHUNK),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to read from one shape of attributes under one dialect."""

    dialect: Dialect
    text_fields: tuple[str, ...]
    text_values: Callable[[Mapping[str, Any]], tuple[Any, ...]] | None
    """Gets the first alias of every text field; ``None`` when the shape has no texts."""
    text_aliases: tuple[tuple[str, tuple[str, ...]], ...]
    counts: tuple[tuple[str, str, tuple[str, ...]], ...]
    """Slot, first alias, other aliases."""
    exact: tuple[tuple[str, str, bool], ...]
    """Our own classes and counts: name, attribute, whether it is a token class."""
    rest: tuple[tuple[str, str, type | None, Callable[[Any], Any]], ...]
    """Field, attribute, a type to take as it is, and reader of what is neither text nor token count; the first wins."""
    labels: tuple[tuple[str, str], ...]
    tools: tools.ToolPlan | None
    guessed: bool
    """Whether attributes are read that no table names."""
    objects: tuple[str, ...]
    """Usage objects among them."""
    maps: tuple[str, ...]
    """Names that other names of the table begin with: a map there holds attributes by the rest of their names."""


class Compiler:
    """Works out plans for one dialect and keeps them, within bounds: some emitters number their attributes."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._slots: dict[str, list[tuple[str, int]]] = {}
        for group in (dialect.texts, dialect.counts):
            for slot, aliases in group.items():
                for rank, alias in enumerate(aliases):
                    self._slots.setdefault(alias, []).append((slot, rank))
        core = (name for group in (dialect.counts, dialect.texts) for slot in group for name in group[slot])
        self._stems = frozenset(stem for name in core if name.startswith(_MAPPED) for stem in _stems(name))
        self._plans: dict[tuple[str, ...], Plan | None] = {}
        self._names_kept = 0

    def plan(self, attributes: Mapping[str, Any]) -> Plan | None:
        """The plan for these attributes' shape; ``None`` when they say nothing about a model call."""
        return self.plan_of(tuple(attributes))

    def plan_of(self, shape: tuple[str, ...]) -> Plan | None:
        """The same, for the attributes' names."""
        try:
            return self._plans[shape]
        except KeyError:
            return self._compile(shape)

    def _compile(self, shape: tuple[str, ...]) -> Plan | None:
        plan = self._work_out(shape)
        if all(len(name) <= _MAX_NAME for name in shape):
            if len(self._plans) >= _MAX_SHAPES or self._names_kept > _MAX_SHAPE_NAMES:
                self._plans = {}
                self._names_kept = 0
            self._plans[shape] = plan
            self._names_kept += len(shape) + 1
        return plan

    def _work_out(self, shape: tuple[str, ...]) -> Plan | None:
        dialect = self.dialect
        found: dict[str, list[tuple[int, str]]] = {}
        labels: list[tuple[str, str]] = []
        exact: list[tuple[str, str, bool]] = []
        present = frozenset(shape)
        guessed: dict[str, list[tuple[int, str]]] = {}
        for name in shape:
            known = self._slots.get(name, ())
            for slot, rank in known:
                found.setdefault(slot, []).append((rank, name))
            if not known and dialect.guess is not None and (meant := dialect.guess(name)) is not None:
                guessed.setdefault(meant[0], []).append((meant[1], name))
            if name.startswith("spanledger."):
                if name.startswith(_LABEL) and len(name) > len(_LABEL):
                    labels.append((name[len(_LABEL) :], name))
                elif name in _EXACT:
                    exact.append((_EXACT[name], name, True))
                elif name.startswith(names.USAGE_COUNT_PREFIX):
                    exact.append((name[len(names.USAGE_COUNT_PREFIX) :], name, False))
            elif dialect.bags:
                self._from_bag(name, found, labels)
        slots = len(found)
        objects = unknown.fill(found, guessed) if guessed else ()
        aliases = {slot: tuple(name for _, name in sorted(ranked)) for slot, ranked in found.items()}
        texts = [(slot, aliases[slot]) for slot in dialect.texts if slot in aliases]
        tabled = {*dialect.texts, *dialect.counts}
        texts += [(slot, names_) for slot, names_ in aliases.items() if slot not in tabled]  # out of bags, or guessed
        counts = [(slot, *aliases[slot]) for slot in dialect.counts if slot in aliases]
        if exact:
            counts = []  # our own classes say it all; the conventions' sums beside them are for others
        claims = not present.isdisjoint(table.CLAIMS)
        marked = not present.isdisjoint((*dialect.markers, *dialect.core))
        maps = tuple(name for name in shape if name in self._stems)
        if not (counts or claims or exact or marked or objects or maps or any(slot in _CORE for slot, _ in texts)):
            return None
        quick = [(slot, names_[0]) for slot, names_ in texts]
        if len(quick) == 1:
            quick *= 2  # itemgetter gives a tuple for two names or more
        return Plan(
            dialect=dialect,
            text_fields=tuple(slot for slot, _ in quick),
            text_values=itemgetter(*(name for _, name in quick)) if quick else None,
            text_aliases=tuple(texts),
            counts=tuple((slot, first, tuple(others)) for slot, first, *others in counts),
            exact=tuple(exact),
            rest=tuple(entry for entry in _REST if entry[1] in present),
            labels=tuple(labels),
            tools=tools.plan(shape, present),
            guessed=bool(objects) or len(found) > slots,
            objects=objects,
            maps=maps,
        )

    def _from_bag(self, name: str, found: dict[str, list[tuple[int, str]]], labels: list[tuple[str, str]]) -> None:
        for rank, bag in enumerate(self.dialect.bags):
            if name.startswith(bag) and len(name) > len(bag):
                key = name[len(bag) :]
                slot = table.BAG_KEYS.get(key.lower())
                if slot is not None:
                    found.setdefault(slot, []).append((100 + rank, name))
                elif bag in self.dialect.label_bags and not key.startswith(("ls_", "lc_", "langgraph_", "__")):
                    labels.append((key, name))
                return
