"""What to watch and whom to tell: the tables ``[alerts]`` and ``[[budgets]]`` of ``spanledger.toml``.

Amounts are exact: TOML numbers are read as decimals. Periods are UTC days and months. Every mistake is one line that
names file, line and field.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Final, cast

from spanledger.reconciler.alerts.lines import line_of
from spanledger.reconciler.errors import ConfigError
from spanledger.reconciler.secrets.references import check_reference

DEFAULT_ORG: Final = "default"

DIMENSIONS: Final[Mapping[str, str]] = {
    "team": "team_id",
    "feature": "feature",
    "service": "service_name",
    "environment": "environment",
    "project": "project",
    "provider": "provider",
    "model": "model",
}
"""What a budget can be for, and the rollup's column; several together mean all of them at once."""

_ZERO: Final = Decimal(0)


class Span(StrEnum):
    """How long a budget holds."""

    DAILY = "daily"
    MONTHLY = "monthly"


BURN_RATES: Final[Mapping[Span, Decimal]] = {Span.DAILY: Decimal(6), Span.MONTHLY: Decimal("14.4")}
"""By default an hour may use a quarter of a day's budget, or a fiftieth of a month's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Money that may be spent in each period.

    Attributes:
        name: unique within the organisation.
        org_id: whose.
        span: how long.
        amount_usd: the limit, US dollars.
        where: what is counted: dimension (`DIMENSIONS`) → value; empty counts everything of the organisation.
        warn_at: fractions of the amount at which to tell, ascending.
        forecast: tell when the pace leads above the amount.
        burn_rate: tell when the last hour ran so many times faster than the budget allows; 0 is off.
        notify: channels of its own instead of the general ones.
    """

    name: str
    org_id: str
    span: Span
    amount_usd: Decimal
    where: Mapping[str, str]
    warn_at: tuple[Decimal, ...]
    forecast: bool
    burn_rate: Decimal
    notify: tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """Everything that is watched. A threshold that is ``None`` is off.

    Attributes:
        notify: references to the channels' URLs, e.g. ``env:SLACK_URL``.
        variance: share of the bill that may stay unexplained.
        coverage: share of the bill that the ledger must have seen.
        unpriced_calls: calls without a price in 24 hours that are no matter yet.
        sync_hours: hours since the last complete pull.
        price_drift: share by which a billed unit price may differ from the booked one.
        interval_seconds: how often to look.
        budgets: all budgets.
    """

    notify: tuple[str, ...] = ()
    variance: Decimal | None = Decimal("0.02")
    coverage: Decimal | None = Decimal("0.95")
    unpriced_calls: Decimal | None = _ZERO
    sync_hours: Decimal | None = Decimal(48)
    price_drift: Decimal | None = Decimal("0.01")
    interval_seconds: float = 60.0
    budgets: tuple[Budget, ...] = ()

    def channels(self) -> tuple[str, ...]:
        """Every channel that is used, once."""
        own = [channel for budget in self.budgets for channel in budget.notify or ()]
        return tuple(dict.fromkeys([*self.notify, *own]))


OWN_KEYS: Final = (
    "notify", "variance", "coverage", "unpriced_calls", "sync_hours", "price_drift", "interval_seconds",
)  # fmt: skip
"""Keys of ``[alerts]``."""

_BUDGET_KEYS: Final = (
    "name", "org", "period", "amount_usd", "warn_at", "forecast", "burn_rate", "notify", *DIMENSIONS,
)  # fmt: skip


def parse(text: str, file: str) -> AlertSettings | None:
    """Read a config file's text; ``None`` when it asks for no alerts.

    Args:
        text: valid TOML.
        file: its name, for errors.

    Raises:
        ConfigError: names file, line and field, and what is wrong with it.
    """
    document = tomllib.loads(text, parse_float=Decimal)
    if "alerts" not in document and "budgets" not in document:
        return None
    general = _Table(document.get("alerts", {}), text, file, "alerts", None)
    values = general.values
    for key, value in values.items():
        # Tables below [alerts] hold options of `spanledger alerts ...`.
        if key not in OWN_KEYS and not isinstance(value, dict):
            raise general.unknown(key, OWN_KEYS)
    defaults = AlertSettings()
    interval = general.number("interval_seconds", Decimal(60), at_least=Decimal(1))
    return AlertSettings(
        notify=general.channels("notify") or (),
        variance=general.threshold("variance", defaults.variance, at_most=Decimal(1)),
        coverage=general.threshold("coverage", defaults.coverage, at_most=Decimal(1)),
        unpriced_calls=general.threshold("unpriced_calls", defaults.unpriced_calls),
        sync_hours=general.threshold("sync_hours", defaults.sync_hours),
        price_drift=general.threshold("price_drift", defaults.price_drift),
        interval_seconds=float(interval),
        budgets=_budgets(document.get("budgets", []), text, file),
    )


def _budgets(raw: object, text: str, file: str) -> tuple[Budget, ...]:
    if not isinstance(raw, list) or not all(isinstance(each, dict) for each in cast("list[object]", raw)):
        raise ConfigError(f"{file}, line {line_of(text, 'budgets', None)}: write each budget as a table [[budgets]]")
    budgets: list[Budget] = []
    for index, values in enumerate(cast("list[Mapping[str, Any]]", raw)):
        table = _Table(values, text, file, "budgets", index)
        budget = _budget(table)
        if any((one.org_id, one.name.lower()) == (budget.org_id, budget.name.lower()) for one in budgets):
            raise table.error("name", f"a second budget of {budget.org_id} has this name: choose another")
        budgets.append(budget)
    return tuple(budgets)


def _budget(table: _Table) -> Budget:
    for key in table.values:
        if key not in _BUDGET_KEYS:
            raise table.unknown(key, _BUDGET_KEYS)
    name = table.text("name")
    period = table.text("period")
    if period not in list(Span):
        raise table.error("period", f"{period!r} is no period: write daily or monthly")
    span = Span(period)
    amount = table.number("amount_usd", None, at_least=_ZERO)
    if not amount:
        raise table.error("amount_usd", "must be more than 0 US dollars")
    forecast = table.values.get("forecast", True)
    if not isinstance(forecast, bool):
        raise table.error("forecast", f"must be true or false, not {forecast!r}")
    return Budget(
        name=name,
        org_id=table.text("org", DEFAULT_ORG),
        span=span,
        amount_usd=amount,
        where={key: table.text(key) for key in DIMENSIONS if key in table.values},
        warn_at=table.fractions("warn_at", (Decimal("0.8"), Decimal(1))),
        forecast=forecast,
        burn_rate=table.number("burn_rate", BURN_RATES[span], at_least=_ZERO),
        notify=table.channels("notify"),
    )


class _Table:
    """One table of the file, read field by field."""

    def __init__(self, values: object, text: str, file: str, name: str, index: int | None) -> None:
        self._text = text
        self._file = file
        self._name = name
        self._index = index
        if not isinstance(values, dict):
            raise self.error("", f"write [{name}] as a table")
        self.values = cast("Mapping[str, Any]", values)

    def error(self, key: str, problem: str) -> ConfigError:
        place = f"[[{self._name}]]" if self._index is not None else f"[{self._name}]"
        if self._index is not None:
            name = self.values.get("name")
            place += f" {name!r}" if isinstance(name, str) and name else f" number {self._index + 1}"
        line = line_of(self._text, self._name, self._index, key)
        return ConfigError(f"{self._file}, line {line}: {place}{f' {key}' if key else ''}: {problem}")

    def unknown(self, key: str, known: Sequence[str]) -> ConfigError:
        near = get_close_matches(key, known, n=1)
        return self.error(key, f"no such key: {f'did you mean {near[0]}?' if near else 'known: ' + ', '.join(known)}")

    def text(self, key: str, default: str = "") -> str:
        value = self.values.get(key, default)
        if not isinstance(value, str):
            raise self.error(key, f"must be a text, not {value!r}")
        if key not in self.values and not default:
            raise self.error("", f"{key} is missing")
        if not value.strip():
            raise self.error(key, "is empty")
        return value.strip()

    def number(
        self, key: str, default: Decimal | None, *, at_least: Decimal, at_most: Decimal | None = None
    ) -> Decimal:
        if key not in self.values:
            if default is None:
                raise self.error("", f"{key} is missing")
            return default
        number = _decimal(self.values[key])
        if number is None or number < at_least or (at_most is not None and number > at_most):
            bounds = f"from {at_least} to {at_most}" if at_most is not None else f"of {at_least} or more"
            raise self.error(key, f"must be a number {bounds}, not {self.values[key]!s}")
        return number

    def threshold(self, key: str, default: Decimal | None, *, at_most: Decimal | None = None) -> Decimal | None:
        if self.values.get(key) == "off":
            return None
        return self.number(key, default, at_least=_ZERO, at_most=at_most)

    def fractions(self, key: str, default: tuple[Decimal, ...]) -> tuple[Decimal, ...]:
        found = [_decimal(value) for value in self._list(key, list(default))]
        kept = [value for value in found if value is not None and value > 0]
        if len(kept) < len(found):
            raise self.error(key, f"must be fractions of the amount such as [0.8, 1.0], not {self.values[key]!s}")
        return tuple(sorted(set(kept)))

    def channels(self, key: str) -> tuple[str, ...] | None:
        if key not in self.values:
            return None
        return tuple(dict.fromkeys(self._each(key, self._list(key, []), check_reference)))

    def _each(self, key: str, values: Sequence[object], check: Callable[[str], str]) -> list[str]:
        checked: list[str] = []
        for number, value in enumerate(values, start=1):
            try:
                checked.append(check(value if isinstance(value, str) else ""))
            except ConfigError as error:
                # Not the value: somebody may have put the secret itself there.
                raise self.error(key, f"entry {number}: {error}") from None
        return checked

    def _list(self, key: str, default: Sequence[object]) -> Sequence[object]:
        value = self.values.get(key, default)
        if not isinstance(value, list):
            raise self.error(key, "must be a list")
        return cast("Sequence[object]", value)


def _decimal(value: object) -> Decimal | None:
    """A finite number, also when written as a text; ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
