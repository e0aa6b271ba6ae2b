"""Any CSV by a mapping: which column means what. The documented generic CSV is the mapping that maps nothing.

A mapping is TOML::

    provider = "cohere"            # who bills, when no column says so
    currency = "USD"               # when no column says so
    amount_unit = "dollars"        # or "cents"
    decimal = "."                  # or ",": the decimal sign, where a number could be read in two ways
    negate = false                 # true when charges are negative
    period = "day"                 # how long a row lasts when it has one date only: "hour", "day" or "month"
    date_format = "%d/%m/%Y"       # when dates are not ISO 8601
    token_unit = "1M tokens"       # the unit of quantities, when no column says so

    [columns]                      # our name = "their column"
    date = "Usage date"
    model = "Model"
    amount = "Total ($)"

    [quantities]                   # token class = "their column": one usage line for each
    input_uncached = "Input tokens"

    [values.token_class]           # their word = "ours"
    "Input" = "input_uncached"

    [skip]                         # rows with one of these values in a column are left out, and counted
    "Status" = ["refunded", "void"]

    [dimensions]                   # further columns to keep, under a name of ours
    region = "Region"
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any, Final, cast

from spanledger.reconciler.bill_line import BillLine, Charge, Kind
from spanledger.reconciler.errors import ConfigError
from spanledger.reconciler.files.numbers import DECIMALS, HOW, NumberError, read_number
from spanledger.reconciler.files.rows import Remarks, RowError, Skip, cell, in_utc, instant
from spanledger.reconciler.files.tables import Row
from spanledger.reconciler.files.units import read_unit, scaled
from spanledger.reconciler.units import Cents, Dollars, Money
from spanledger.reconciler.windows import next_month

COLUMNS: Final = (
    "date",
    "period_start",
    "period_end",
    "provider",
    "kind",
    "charge",
    "model",
    "token_class",
    "project",
    "workspace",
    "api_key",
    "service_tier",
    "is_batch",
    "line_item",
    "quantity",
    "unit",
    "amount",
    "currency",
    "list_amount",
    "source_id",
)
"""Our names, and the columns of the generic CSV."""

_PERIODS: Final = ("hour", "day", "month")
_TRUE: Final = frozenset({"true", "yes", "1", "y", "batch"})
_FALSE: Final = frozenset({"false", "no", "0", "n"})


def _texts() -> dict[str, str]:
    return {}


def _tables() -> dict[str, dict[str, str]]:
    return {}


def _lists() -> dict[str, tuple[str, ...]]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvMapping:
    """A mapping file's content; see the module's documentation."""

    name: str
    provider: str = ""
    currency: str = ""
    amount_unit: str = "dollars"
    decimal: str = ""
    negate: bool = False
    period: str = "day"
    date_format: str = ""
    token_unit: str = ""
    columns: Mapping[str, str] = field(default_factory=_texts)
    quantities: Mapping[str, str] = field(default_factory=_texts)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=_tables)
    skip: Mapping[str, tuple[str, ...]] = field(default_factory=_lists)
    dimensions: Mapping[str, str] = field(default_factory=_texts)

    def column(self, name: str) -> str:
        """Their column for our name; our own name when the mapping names none."""
        return self.columns.get(name, name)


GENERIC: Final = CsvMapping(name="generic CSV")


def read_mapping(path: Path) -> CsvMapping:
    """A mapping from a TOML file. Raises `ConfigError`, naming the key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"mapping {path} cannot be read: {error}") from None
    return parse_mapping(text, str(path))


def presets() -> dict[str, CsvMapping]:
    """The mappings that come with us, by name: exports of provider consoles."""
    found: dict[str, CsvMapping] = {}
    for entry in sorted(resources.files("spanledger.reconciler.files.mappings").iterdir(), key=lambda file: file.name):
        if entry.name.endswith(".toml"):
            name = entry.name.removesuffix(".toml")
            found[name] = parse_mapping(entry.read_text(encoding="utf-8"), name)
    return found


def parse_mapping(text: str, name: str) -> CsvMapping:
    """Raises `ConfigError`, naming the key."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"mapping {name} is not TOML: {error}") from None
    plain: dict[str, str] = {}
    for key in ("provider", "currency", "amount_unit", "decimal", "period", "date_format", "token_unit"):
        value = found.pop(key, "")
        if not isinstance(value, str):
            raise ConfigError(f"mapping {name}: {key} is a text, in quotes")
        if value:
            plain[key] = value
    negate = found.pop("negate", False)
    if not isinstance(negate, bool):
        raise ConfigError(f"mapping {name}: negate is true or false, without quotes")
    columns = _strings(found.pop("columns", {}), f"mapping {name}, [columns]")
    for key in columns:
        if key not in COLUMNS:
            raise ConfigError(f"mapping {name}, [columns]: {key!r} is none of {', '.join(COLUMNS)}")
    values = {
        str(column): _strings(table, f"mapping {name}, [values.{column}]")
        for column, table in _table(found.pop("values", {}), f"mapping {name}, [values.<our column>]").items()
    }
    skip = {
        column: _words(words, f"mapping {name}, [skip]: {column}")
        for column, words in _table(found.pop("skip", {}), f"mapping {name}, [skip]").items()
    }
    quantities = _strings(found.pop("quantities", {}), f"mapping {name}, [quantities]")
    kept = _strings(found.pop("dimensions", {}), f"mapping {name}, [dimensions]")
    if found:
        raise ConfigError(f"mapping {name}: unknown key {', '.join(sorted(found))}")
    if plain.get("amount_unit", "dollars") not in ("dollars", "cents"):
        raise ConfigError(f'mapping {name}: amount_unit is "dollars" or "cents"')
    if plain.get("decimal", ".") not in DECIMALS:
        raise ConfigError(f'mapping {name}: decimal is "." or ","')
    if plain.get("period", "day") not in _PERIODS:
        raise ConfigError(f"mapping {name}: period is one of {', '.join(_PERIODS)}")
    return CsvMapping(
        name=name,
        negate=negate,
        columns=columns,
        quantities=quantities,
        values=values,
        skip=skip,
        dimensions=kept,
        **plain,
    )


def _table(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be a table of texts")
    return cast("dict[str, Any]", value)


def _strings(table: object, where: str) -> dict[str, str]:
    found = _table(table, where)
    if not all(isinstance(value, str) for value in found.values()):
        raise ConfigError(f"{where} must be a table of texts")
    return found


def _words(value: object, where: str) -> tuple[str, ...]:
    words = cast("list[object]", value) if isinstance(value, list) else []
    if not words or not all(isinstance(word, str) for word in words):
        raise ConfigError(f'{where} must be a list of texts, like ["refunded"]')
    return tuple(str(word) for word in words)


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedReader:
    """Reads rows by a mapping.

    Attributes:
        mapping: which column means what.
        provider, currency: the user's word where no column says.
        decimal: the user's word on the decimal sign; goes before the mapping's.
    """

    mapping: CsvMapping = GENERIC
    provider: str = ""
    currency: str = ""
    decimal: str = ""

    @property
    def required(self) -> tuple[str, ...]:
        """The mapped columns must exist; of the generic ones, none by itself."""
        return tuple(dict.fromkeys((*self.mapping.columns.values(), *self.mapping.quantities.values())))

    def read(self, row: Row, remarks: Remarks) -> Iterator[BillLine]:
        """See `RowReader.read`."""
        mapping = self.mapping
        for column, words in mapping.skip.items():
            if row.get(column, "") in words:
                raise Skip(f"{column} is {row[column]!r}")
        start, end = self._period(row)
        provider = self._text(row, "provider") or self.provider or mapping.provider
        if not provider:
            raise RowError("no column says who bills: give --provider")
        charge = self._charge(row, remarks)
        token_class = self._text(row, "token_class")
        if charge is Charge.USAGE and not token_class and not mapping.quantities:
            remarks.note("unclassified")
        money, list_money = self._money(row, "amount", remarks), self._money(row, "list_amount", remarks)
        used, unit = self._count(
            row, mapping.column("quantity"), self._text(row, "unit") or mapping.token_unit or "tokens", remarks
        )
        kind = self._kind(row, has_money=money is not None)
        if money is None and used is None and not mapping.quantities:
            raise RowError("neither an amount nor a quantity")

        def line(kind: Kind, token_class: str) -> BillLine:
            return BillLine(
                kind=kind,
                start=start,
                end=end,
                provider=provider,
                model=self._text(row, "model"),
                token_class=token_class,
                project=self._text(row, "project"),
                workspace=self._text(row, "workspace"),
                api_key=self._text(row, "api_key"),
                service_tier=self._text(row, "service_tier"),
                is_batch=self._batch(row),
                line_item=self._text(row, "line_item"),
                charge=charge,
                source_id=self._text(row, "source_id"),
                dimensions={name: row[column] for name, column in mapping.dimensions.items() if row.get(column)},
            )

        if money is not None or used is not None:
            main = line(kind, token_class)
            main.quantity, main.unit = used, unit if used is not None else ""
            main.money, main.list_money = money, list_money
            yield main
        for name, column in mapping.quantities.items():
            amount, amount_unit = self._count(row, column, mapping.token_unit or "tokens", remarks)
            if amount:
                part = line(Kind.USAGE, name)
                part.quantity, part.unit = amount, amount_unit
                yield part

    def _text(self, row: Row, name: str) -> str:
        said = cell(row, self.mapping.column(name))
        return self.mapping.values.get(name, {}).get(said, said)

    def _kind(self, row: Row, *, has_money: bool) -> Kind:
        said = self._text(row, "kind").lower()
        if said in (Kind.COST, Kind.USAGE):
            return Kind(said)
        if said:
            raise RowError(f"kind: {said!r} is neither cost nor usage")
        return Kind.COST if has_money else Kind.USAGE

    def _charge(self, row: Row, remarks: Remarks) -> Charge:
        said = self._text(row, "charge").lower()
        if not said:
            return Charge.USAGE
        try:
            return Charge(said)
        except ValueError:
            remarks.note("unknown_charge")
            return Charge.USAGE

    def _batch(self, row: Row) -> bool | None:
        said = self._text(row, "is_batch").lower()
        return True if said in _TRUE else False if said in _FALSE else None

    def _number(self, row: Row, column: str, remarks: Remarks, *, whole: bool = False) -> Decimal | None:
        """A number as people write it; all of them with the same decimal sign. Raises `RowError`."""
        said = cell(row, column)
        if not said:
            return None
        try:
            value, sign = read_number(said, self.decimal or self.mapping.decimal, whole=whole)
        except NumberError as error:
            raise RowError(f"{column}: {error}") from None
        if sign and remarks.decimal and sign != remarks.decimal:
            raise RowError(f"{column}: {said!r} has another decimal sign than numbers before it ({HOW})")
        remarks.decimal = remarks.decimal or sign
        return value

    def _count(self, row: Row, column: str, unit: str, remarks: Remarks) -> tuple[Decimal | None, str]:
        """A quantity in single units. Raises `RowError`."""
        known = read_unit(unit)
        whole = known is not None and known[1] == 1
        return scaled(self._number(row, column, remarks, whole=whole), unit)

    def _money(self, row: Row, name: str, remarks: Remarks) -> Money | None:
        column = self.mapping.column(name)
        amount = self._number(row, column, remarks)
        if amount is None:
            return None
        currency = self._text(row, "currency") or self.currency or self.mapping.currency
        if not currency:
            raise RowError(f"{column}: an amount without a currency: add a column or give --currency")
        amount = -amount if self.mapping.negate and amount else amount
        unit = Cents(amount) if self.mapping.amount_unit == "cents" else Dollars(amount)
        return unit.money(currency)

    def _period(self, row: Row) -> tuple[datetime, datetime]:
        mapping = self.mapping
        start = self._time(row, "period_start" if cell(row, mapping.column("period_start")) else "date")
        if cell(row, mapping.column("period_end")):
            end = self._time(row, "period_end")
            if end <= start:
                raise RowError(f"{mapping.column('period_end')} is not after {mapping.column('period_start')}")
            return start, end
        if mapping.period == "hour":
            return start, start + timedelta(hours=1)
        start = start.replace(hour=0, minute=0, second=0, microsecond=0)
        if mapping.period == "month":
            first = start.replace(day=1)
            following = next_month(first.date())
            return first, datetime(following.year, following.month, 1, tzinfo=UTC)
        return start, start + timedelta(days=1)

    def _time(self, row: Row, name: str) -> datetime:
        column = self.mapping.column(name)
        said = cell(row, column)
        if not said:
            raise RowError(f"{column} is empty")
        form = self.mapping.date_format
        try:
            if form:
                return in_utc(datetime.strptime(said, form))  # noqa: DTZ007 - the zone is set there
            if said.isdecimal() and len(said) >= 10:
                # Unix seconds, or milliseconds where the digits are too many for seconds.
                return in_utc(datetime.fromtimestamp(int(said) / (1000 if len(said) >= 13 else 1), UTC))
        except (ValueError, OverflowError, OSError):
            why = f"does not fit date_format {form!r}" if form else "is no time of a bill"
            raise RowError(f"{column}: {said!r} {why}") from None
        try:
            return instant({column: said}, column)
        except RowError as error:
            raise RowError(f"{error}; other dates need a mapping with date_format") from None
