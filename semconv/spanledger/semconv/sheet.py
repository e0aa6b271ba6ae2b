"""Many observations as columns, for whoever handles them by the thousand.

`Observations` is a sequence of `Observation` like any other; one is made of a sheet's row when somebody asks for it.
Who needs one field of all of them takes `column`, and nothing is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, Final, overload

from spanledger.semconv.observation import Observation
from spanledger.semconv.usage import Usages

_OF_USAGE: Final = "usage."
_EMPTY: Final = Observation()
_DEFAULTS: Final[Mapping[str, Any]] = {f.name: getattr(_EMPTY, f.name) for f in fields(Observation)}


@dataclass(slots=True)
class Sheet:
    """Observations that agree in much. Treat as immutable.

    Attributes:
        size: how many.
        same: fields that have one value for all.
        columns: fields whose values differ, in the order of the rows. A field in neither has `Observation`'s default.
    """

    size: int
    same: dict[str, Any] = field(default_factory=dict[str, Any])
    columns: dict[str, Sequence[Any]] = field(default_factory=dict[str, Sequence[Any]])

    def __len__(self) -> int:
        return self.size

    def row(self, at: int) -> Observation:
        """One of the observations."""
        return Observation(**self.same, **{name: values[at] for name, values in self.columns.items()})

    def part(self, start: int, stop: int) -> Sheet:
        """The rows from `start` to before `stop`."""
        if start == 0 and stop >= self.size:
            return self
        columns = {name: values[start:stop] for name, values in self.columns.items()}
        return Sheet(min(stop, self.size) - start, self.same, columns)

    def column(self, name: str) -> Sequence[Any]:
        """One field of all; ``usage.cache_read`` and the like, too."""
        if name.startswith(_OF_USAGE):
            usages, field_ = self.column("usage"), name[len(_OF_USAGE) :]
            return usages.column(field_) if isinstance(usages, Usages) else list(map(attrgetter(field_), usages))
        values = self.columns.get(name)
        return values if values is not None else [self.same.get(name, _DEFAULTS[name])] * self.size


class Observations(Sequence[Observation]):
    """A growing sequence of observations, single ones and whole sheets."""

    def __init__(self) -> None:
        self._parts: list[Sheet | list[Observation]] = []
        self._size = 0

    def append(self, observation: Observation) -> None:
        """Add one."""
        if not self._parts or isinstance(self._parts[-1], Sheet):
            self._parts.append([observation])
        else:
            self._parts[-1].append(observation)
        self._size += 1

    def add(self, sheet: Sheet) -> None:
        """Add all of a sheet."""
        self._parts.append(sheet)
        self._size += len(sheet)

    def clear(self) -> None:
        """Forget all."""
        self._parts.clear()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Observation]:
        for part in self._parts:
            if isinstance(part, Sheet):
                yield from map(part.row, range(len(part)))
            else:
                yield from part

    @overload
    def __getitem__(self, at: int) -> Observation: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Observation]: ...
    def __getitem__(self, at: int | slice) -> Observation | Sequence[Observation]:
        if isinstance(at, slice):
            return [self[row] for row in range(*at.indices(self._size))]
        row = at if at >= 0 else at + self._size
        for part in self._parts:
            if 0 <= row < len(part):
                return part.row(row) if isinstance(part, Sheet) else part[row]
            row -= len(part)
        raise IndexError(at)

    def column(self, name: str) -> list[Any]:
        """One field of all."""
        found: list[Any] = []
        get = attrgetter(name)
        for part in self._parts:
            found.extend(part.column(name) if isinstance(part, Sheet) else map(get, part))
        return found


class Chosen(Sequence[Observation]):
    """Some of a sequence of observations, in a given order."""

    def __init__(self, all_: Sequence[Observation], rows: Sequence[int]) -> None:
        self._all = all_
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, at: int) -> Observation: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Observation]: ...
    def __getitem__(self, at: int | slice) -> Observation | Sequence[Observation]:
        return Chosen(self._all, self._rows[at]) if isinstance(at, slice) else self._all[self._rows[at]]

    def column(self, name: str) -> list[Any]:
        """One field of the chosen."""
        [values] = columns(self._all, (name,))
        return [values[row] for row in self._rows]


_STEP: Final = 256


def columns(observations: Sequence[Observation], names: Sequence[str]) -> list[list[Any]]:
    """Fields of all observations, a list for each name."""
    if isinstance(observations, Observations | Chosen):
        return [observations.column(name) for name in names]
    if len(names) == 1:
        return [list(map(attrgetter(names[0]), observations))]
    return turned(attrgetter(*names), observations) if observations else [[] for _ in names]


def turned(fields_of: Callable[[Any], tuple[Any, ...]], rows: Sequence[Any]) -> list[list[Any]]:
    """The fields of all rows (at least one), column by column.

    In small steps: thousands of tuples at once wake the garbage collector.
    """
    found: list[list[Any]] = []
    for start in range(0, len(rows), _STEP):
        step = zip(*map(fields_of, rows[start : start + _STEP]), strict=True)
        if not found:
            found = [list(values) for values in step]
        else:
            for column, values in zip(found, step, strict=True):
                column.extend(values)
    return found
