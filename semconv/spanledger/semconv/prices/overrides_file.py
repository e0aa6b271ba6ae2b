"""Read a user's overrides from a TOML or YAML file; every mistake is one line that names file, line and field.

The format is described in docs/prices.md. Numbers are read as exact decimals, never as floats.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final, TypeVar, cast

from spanledger.semconv import money
from spanledger.semconv.prices import documents, names, similar
from spanledger.semconv.prices.arithmetic import FREE_COUNTS
from spanledger.semconv.prices.base import PRICE_KEYS
from spanledger.semconv.prices.documents import Document, Path_
from spanledger.semconv.prices.overrides import (
    USD,
    Alias,
    Commitment,
    ContractRates,
    Discount,
    ExchangeRate,
    Overrides,
    Rule,
    Scope,
)
from spanledger.semconv.prices.rates import Rate
from spanledger.semconv.providers import BILLERS, biller
from spanledger.semconv.usage import TOKEN_CLASSES

T = TypeVar("T")

CLASS_WORDS: Final[Mapping[str, str]] = {"input": "input_uncached", "output": "output_text"}
"""Words that people write for a class."""
CLASSES: Final = frozenset(TOKEN_CLASSES) | {name for name, _ in PRICE_KEYS.values()} | FREE_COUNTS
"""What may have a rate: token classes, what the base data prices by the use, and what is free unless agreed on."""
PER: Final[Mapping[str, int]] = {
    "per_million": 1_000_000,
    "per_thousand": 1_000,
    "per_unit": 1,
    "per_hour": 3_600,
}
_SECTIONS: Final = (
    "discounts",
    "rates",
    "aliases",
    "commitments",
    "fx",
    "azure_deployments",
    "bedrock_profiles",
)
_SCOPE_FIELDS: Final = ("provider", "model", "org", "project", "from", "until")
_DECIMALS: Final = 18
_TOO_LARGE: Final = Decimal(10) ** 12
_FIRST_DAY: Final = date(1970, 1, 1)
_LAST_DAY: Final = date(2149, 6, 5)
"""What the ledger's columns for rates and days can hold: a day before is "since ever", one after is "for ever"."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a file: where it is, what is wrong and how to mend it."""

    file: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.field}: {self.message}"


class OverridesError(ValueError):
    """A file of overrides cannot be used. ``problems`` holds every mistake; the text is the first one."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems: Final = tuple(problems)
        more = len(problems) - 1
        super().__init__(f"{problems[0]}" + (f" (and {more} more)" if more else ""))


def load_overrides(path: str | Path) -> Overrides:
    """The rules of a file (``.toml``, ``.yaml`` or ``.yml``).

    Raises:
        OverridesError: the file cannot be read or says something that cannot be right; it holds all such places.
    """
    path = Path(path)
    try:
        document = documents.read(path)
    except documents.DocumentError as error:
        raise OverridesError([Problem(str(path), error.line, "file", error.message)]) from error
    reader = _Reader(document, str(path))
    overrides = reader.overrides()
    if reader.problems or overrides is None:
        raise OverridesError(sorted(reader.problems, key=lambda problem: problem.line))
    return overrides


@dataclass(slots=True)
class _Reader:
    document: Document
    file: str
    problems: list[Problem] = field(default_factory=list[Problem])

    def overrides(self) -> Overrides | None:
        root = self.document.values
        for name in root:
            if name not in _SECTIONS:
                self.report((name,), name, "unknown section" + _meant(name, _SECTIONS))
        exchange = self.each("fx", self.exchange)
        self.no_twins("fx", exchange, lambda rate: (rate.currency, rate.valid_from), "the currency has a rate")
        aliases = self.each("aliases", self.alias)
        self.no_twins("aliases", aliases, _calls)
        for section, provider in (("azure_deployments", "azure_openai"), ("bedrock_profiles", "aws_bedrock")):
            aliases += self.pairs(section, provider)
        rates = self.each("rates", lambda table: self.rates(table, exchange))
        commitments = self.each("commitments", lambda table: self.commitment(table, exchange))
        discounts = self.each("discounts", self.discount)
        self.no_twins("discounts", discounts, lambda rule: (_calls(rule), rule.classes))
        self.no_twins("rates", rates, lambda rule: (_calls(rule), rule.service_tier, rule.is_batch, rule.prompt_over))
        self.no_twins("commitments", commitments, _calls)
        if self.problems:
            return None
        return Overrides(
            discounts=tuple(discounts),
            rates=tuple(rates),
            aliases=tuple(aliases),
            commitments=tuple(commitments),
            exchange=tuple(exchange),
            source=f"overrides:{Path(self.file).name}",
            source_version=hashlib.sha256(self.document.text.encode()).hexdigest()[:12],
        )

    def report(self, at: Path_, name: str, message: str) -> None:
        self.problems.append(Problem(self.file, self.document.line(at), name, message))

    def each(self, section: str, read: Callable[[_Table], T | None]) -> list[T]:
        """Every table of a section, those with mistakes left out."""
        entries = self.document.values.get(section, [])
        if not isinstance(entries, list):
            self.report((section,), section, f"must be a list of tables: write [[{section}]]")
            return []
        found: list[T] = []
        for index, entry in enumerate(cast("list[object]", entries)):
            at: Path_ = (section, index)
            if not isinstance(entry, dict):
                self.report(at, section, "must be a table")
                continue
            before = len(self.problems)
            table = _Table(self, cast("dict[str, object]", entry), at)
            value = read(table)
            table.no_others()
            if value is not None and len(self.problems) == before:
                found.append(value)
        return found

    def pairs(self, section: str, provider: str) -> list[Alias]:
        entries = self.document.values.get(section, {})
        if not isinstance(entries, dict):
            self.report((section,), section, f"must be a table of name = model: write [{section}]")
            return []
        found: list[Alias] = []
        lines: dict[str, int] = {}
        for name, model in cast("dict[str, object]", entries).items():
            if not isinstance(model, str) or not model.strip():
                self.report((section, name), name, "must be the name of a model in quotes")
                continue
            first = lines.setdefault(name.lower(), self.document.line((section, name)))
            if first != self.document.line((section, name)):
                self.report((section, name), name, f"stands in line {first} already (case does not matter)")
            found.append(Alias(scope=Scope(provider=provider, model=name), model=model.strip()))
        return found

    def no_twins(
        self,
        section: str,
        rules: Sequence[T],
        identity: Callable[[T], object],
        problem: str = "the same calls have a rule of the same kind",
    ) -> None:
        """Two rules for the same calls and days contradict each other: which one is meant?"""
        seen: dict[object, int] = {}
        for index, rule in enumerate(rules):
            key = identity(rule)
            if key in seen:
                first = self.document.line((section, seen[key]))
                self.report((section, index), section, f"{problem} in line {first} already")
            seen.setdefault(key, index)

    def discount(self, table: _Table) -> Discount | None:
        name, scope = table.text("name"), table.scope()
        percent = table.number("percent", required=True)
        if percent is not None and percent > 100:
            table.report("percent", "must be at most 100 (a surcharge is negative)")
        classes = frozenset(filter(None, (table.token_class("classes", word) for word in table.texts("classes"))))
        if table.values.get("classes") == []:
            table.report("classes", "names no class; leave it out to mean all")
        if scope is None or percent is None:
            return None
        return Discount(scope=scope, percent=percent, name=name, classes=classes)

    def rates(self, table: _Table, exchange: Sequence[ExchangeRate]) -> ContractRates | None:
        name, scope = table.text("name"), table.scope(model_required=True)
        before = len(self.problems)
        rates = table.rates()
        if not rates and len(self.problems) == before:
            table.report("per_million", "no rate at all: write per_million = { input = ..., output = ... }")
        currency = table.currency(exchange, scope)
        tier = names.tier(table.text("service_tier"))
        is_batch = table.flag("batch")
        if tier in names.BATCH_TIERS:
            tier, is_batch = "", True
        over = table.number("prompt_over")
        if over is not None and (over < 0 or over != over.to_integral_value()):
            table.report("prompt_over", "must be a number of tokens")
        replaces = table.flag("replaces")
        if scope is None:
            return None
        return ContractRates(
            scope=scope,
            rates=rates,
            name=name,
            currency=currency,
            service_tier=tier,
            is_batch=is_batch,
            prompt_over=None if over is None else int(over),
            replaces=replaces,
        )

    def alias(self, table: _Table) -> Alias | None:
        scope = table.scope(model_required=True)
        model = table.text("means", required=True)
        provider = table.provider("means_provider") if "means_provider" in table.values else ""
        if scope is None or not model:
            return None
        return Alias(scope=scope, model=model, provider=provider)

    def commitment(self, table: _Table, exchange: Sequence[ExchangeRate]) -> Commitment | None:
        name, scope = table.text("name", required=True), table.scope(model_required=True)
        monthly = table.number("monthly", required=True, least=Decimal(0))
        currency = table.currency(exchange, scope)
        units = table.number("units")
        if units is not None and (units <= 0 or units != units.to_integral_value()):
            table.report("units", "must be a number of units")
        if scope is None or monthly is None:
            return None
        return Commitment(
            scope=scope, monthly=monthly, name=name, currency=currency, units=None if units is None else int(units)
        )

    def exchange(self, table: _Table) -> ExchangeRate | None:
        currency = table.text("currency", required=True).upper()
        usd = table.number("usd", required=True)
        if currency == USD:
            table.report("currency", "the US dollar has no exchange rate to itself")
        if usd is not None and usd <= 0:
            table.report("usd", "must be what one unit of the currency is worth in US dollars")
        start = table.day("from")
        if start and not _FIRST_DAY <= start <= _LAST_DAY:
            table.report("from", f"must be a day from {_FIRST_DAY} to {_LAST_DAY}")
        if not currency or usd is None:
            return None
        return ExchangeRate(currency=currency, usd=usd, valid_from=start)


@dataclass(slots=True)
class _Table:
    """One table of a file; remembers which fields were asked for."""

    reader: _Reader
    values: dict[str, object]
    at: Path_
    asked: set[str] = field(default_factory=set[str])

    def report(self, name: str, message: str) -> None:
        at = (*self.at, name) if name in self.values else self.at
        self.reader.report(at, name, message)

    def no_others(self) -> None:
        for name in self.values:
            if name not in self.asked:
                self.report(name, "unknown field" + _meant(name, sorted(self.asked)))

    def get(self, name: str) -> object:
        self.asked.add(name)
        return self.values.get(name)

    def text(self, name: str, required: bool = False) -> str:
        value = self.get(name)
        if value is None:
            if required:
                self.report(name, "is missing")
            return ""
        if not isinstance(value, str) or not value.strip():
            self.report(name, "must be a text in quotes")
            return ""
        return value.strip()

    def texts(self, name: str) -> list[str]:
        value = self.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in cast("list[object]", value)):
            self.report(name, "must be a list of texts")
            return []
        return cast("list[str]", value)

    def flag(self, name: str) -> bool:
        value = self.get(name)
        if value is not None and not isinstance(value, bool):
            self.report(name, "must be true or false")
        return value is True

    def number(self, name: str, required: bool = False, least: Decimal | None = None) -> Decimal | None:
        value = self.get(name)
        if value is None:
            if required:
                self.report(name, "is missing")
            return None
        return self.amount(name, value, least)

    def amount(self, name: str, value: object, least: Decimal | None = None) -> Decimal | None:
        try:
            if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
                raise money.MoneyError("not a number")  # noqa: TRY301
            amount = money.parse(value)
        except money.MoneyError:
            self.report(name, f"must be a number, not {value!r}")
            return None
        if least is not None and amount < least:
            self.report(name, f"must not be below {least}")
            return None
        if abs(amount) >= _TOO_LARGE:
            self.report(name, "is too large")
            return None
        if amount != amount.quantize(Decimal(1).scaleb(-_DECIMALS), context=money.CONTEXT):
            self.report(name, f"has more than {_DECIMALS} digits behind the point")
            return None
        return amount

    def day(self, name: str) -> date | None:
        value = self.get(name)
        if value is None:
            return None
        day = value if isinstance(value, date) and not isinstance(value, datetime) else None
        if isinstance(value, str):
            with suppress(ValueError):
                day = date.fromisoformat(value.strip())
        if day is None:
            self.report(name, "must be a day like 2026-01-31 (days are UTC)")
        return day

    def provider(self, name: str) -> str:
        """A biller's word; common spellings are understood, a misspelt one is refused."""
        value = self.text(name)
        if not value:
            return ""
        word = biller(value)
        known = [entry.word for entry in BILLERS]
        if word not in known and not word.startswith("huggingface_"):
            near = similar.meant(value, known, surely=True)
            if near:
                self.report(name, f"unknown provider {value!r}: did you mean {near!r}?")
        return word or value

    def scope(self, model_required: bool = False) -> Scope | None:
        before = len(self.reader.problems)
        provider = self.provider("provider")
        model = self.text("model", required=model_required)
        start, last = self.day("from"), self.day("until")
        org, project = self.text("org"), self.text("project")
        if start and last and last < start:
            self.report("until", f"must not be before from ({start})")
        if start and start > _LAST_DAY:
            self.report("from", f"must not be after {_LAST_DAY}")
        if last and last < _FIRST_DAY:
            self.report("until", f"must not be before {_FIRST_DAY}")
        if "provider" not in self.values and "model" not in self.values and not model_required:
            self.report("provider", "is missing: a rule names a provider or a model")
        if len(self.reader.problems) > before:
            return None
        return Scope(
            provider=provider,
            model=model or "*",
            org=org,
            project=project,
            valid_from=start if start and start >= _FIRST_DAY else None,
            valid_to=last + timedelta(days=1) if last and last < _LAST_DAY else None,
        )

    def currency(self, exchange: Sequence[ExchangeRate], scope: Scope | None) -> str:
        currency = self.text("currency").upper() or USD
        if currency == USD:
            return USD
        known = [rate for rate in exchange if rate.currency == currency]
        start = scope.valid_from if scope else None
        if not known:
            self.report("currency", f"no exchange rate for {currency}: add [[fx]] with currency, usd and from")
        elif scope and not any(r.valid_from is None or (start is not None and r.valid_from <= start) for r in known):
            since = start or "the beginning (give the rule a from, or one [[fx]] without from)"
            self.report("currency", f"no exchange rate for {currency} on {since}")
        return currency

    def token_class(self, name: str, word: str) -> str:
        found = CLASS_WORDS.get(word, word)
        if found not in CLASSES:
            self.report(name, f"unknown token class {word!r}" + _meant(word, sorted(CLASSES | set(CLASS_WORDS))))
            return ""
        return found

    def rates(self) -> dict[str, Rate]:
        found: dict[str, Rate] = {}
        for unit, per in PER.items():
            value = self.get(unit)
            if value is None:
                continue
            if not isinstance(value, dict):
                self.report(unit, "must be a table: { input = 2.5, output = 10 }")
                continue
            for word, amount in cast("dict[str, object]", value).items():
                at = _Table(self.reader, cast("dict[str, object]", value), (*self.at, unit))
                name = at.token_class(word, word)
                exact = at.amount(word, amount, Decimal(0))
                if name and exact is not None:
                    if name in found:
                        at.report(word, f"{name} has a rate already")
                    found[name] = Rate(exact, per)
        return found


def _calls(rule: Rule) -> Scope:
    """For which calls a rule is, however its model is spelt."""
    return replace(rule.scope, model=rule.scope.model.lower())


def _meant(word: str, known: Sequence[str]) -> str:
    near = similar.meant(word, known)
    return f": did you mean {near!r}?" if near else f": known are {', '.join(known)}"
