"""Read a user's overrides from a TOML or YAML file; every mistake is one line that names file, line and field.

The format is described in docs/prices.md. Numbers are read as exact decimals, never as floats.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Final, TypeVar, cast

from spanledger.semconv.prices import documents, names
from spanledger.semconv.prices.documents import Path_
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
from spanledger.semconv.prices.overrides_table import FIRST_DAY, LAST_DAY, Problem, Problems, Table, meant

T = TypeVar("T")

_SECTIONS: Final = (
    "discounts",
    "rates",
    "aliases",
    "commitments",
    "fx",
    "azure_deployments",
    "bedrock_profiles",
)


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
    found = Problems(document, str(path))
    overrides = _Reader(found).overrides()
    if found.problems or overrides is None:
        raise OverridesError(sorted(found.problems, key=lambda problem: problem.line))
    return overrides


@dataclass(slots=True)
class _Reader:
    found: Problems

    def overrides(self) -> Overrides | None:
        root = self.found.document.values
        for name in root:
            if name not in _SECTIONS:
                self.found.report((name,), name, "unknown section" + meant(name, _SECTIONS))
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
        if self.found.problems:
            return None
        return Overrides(
            discounts=tuple(discounts),
            rates=tuple(rates),
            aliases=tuple(aliases),
            commitments=tuple(commitments),
            exchange=tuple(exchange),
            source=f"overrides:{Path(self.found.file).name}",
            source_version=hashlib.sha256(self.found.document.text.encode()).hexdigest()[:12],
        )

    def each(self, section: str, read: Callable[[Table], T | None]) -> list[T]:
        """Every table of a section, those with mistakes left out."""
        entries = self.found.document.values.get(section, [])
        if not isinstance(entries, list):
            self.found.report((section,), section, f"must be a list of tables: write [[{section}]]")
            return []
        found: list[T] = []
        for index, entry in enumerate(cast("list[object]", entries)):
            at: Path_ = (section, index)
            if not isinstance(entry, dict):
                self.found.report(at, section, "must be a table")
                continue
            before = len(self.found.problems)
            table = Table(self.found, cast("dict[str, object]", entry), at)
            value = read(table)
            table.no_others()
            if value is not None and len(self.found.problems) == before:
                found.append(value)
        return found

    def pairs(self, section: str, provider: str) -> list[Alias]:
        entries = self.found.document.values.get(section, {})
        if not isinstance(entries, dict):
            self.found.report((section,), section, f"must be a table of name = model: write [{section}]")
            return []
        found: list[Alias] = []
        lines: dict[str, int] = {}
        for name, model in cast("dict[str, object]", entries).items():
            if not isinstance(model, str) or not model.strip():
                self.found.report((section, name), name, "must be the name of a model in quotes")
                continue
            first = lines.setdefault(name.lower(), self.found.document.line((section, name)))
            if first != self.found.document.line((section, name)):
                self.found.report((section, name), name, f"stands in line {first} already (case does not matter)")
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
                first = self.found.document.line((section, seen[key]))
                self.found.report((section, index), section, f"{problem} in line {first} already")
            seen.setdefault(key, index)

    def discount(self, table: Table) -> Discount | None:
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

    def rates(self, table: Table, exchange: Sequence[ExchangeRate]) -> ContractRates | None:
        name, scope = table.text("name"), table.scope(model_required=True)
        before = len(self.found.problems)
        rates = table.rates()
        if not rates and len(self.found.problems) == before:
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

    def alias(self, table: Table) -> Alias | None:
        scope = table.scope(model_required=True)
        model = table.text("means", required=True)
        provider = table.provider("means_provider") if "means_provider" in table.values else ""
        if scope is None or not model:
            return None
        return Alias(scope=scope, model=model, provider=provider)

    def commitment(self, table: Table, exchange: Sequence[ExchangeRate]) -> Commitment | None:
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

    def exchange(self, table: Table) -> ExchangeRate | None:
        currency = table.text("currency", required=True).upper()
        usd = table.number("usd", required=True)
        if currency == USD:
            table.report("currency", "the US dollar has no exchange rate to itself")
        if usd is not None and usd <= 0:
            table.report("usd", "must be what one unit of the currency is worth in US dollars")
        start = table.day("from")
        if start and not FIRST_DAY <= start <= LAST_DAY:
            table.report("from", f"must be a day from {FIRST_DAY} to {LAST_DAY}")
        if not currency or usd is None:
            return None
        return ExchangeRate(currency=currency, usd=usd, valid_from=start)


def _calls(rule: Rule) -> Scope:
    """For which calls a rule is, however its model is spelt."""
    return replace(rule.scope, model=rule.scope.model.lower())
