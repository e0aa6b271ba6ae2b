"""One table of an overrides file: its fields by kind, each mistake noted with its line and its mend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final, cast

from spanledger.semconv import money
from spanledger.semconv.prices import similar
from spanledger.semconv.prices.arithmetic import FREE_COUNTS
from spanledger.semconv.prices.base import PRICE_KEYS
from spanledger.semconv.prices.documents import Document, Path_
from spanledger.semconv.prices.overrides import USD, ExchangeRate, Scope
from spanledger.semconv.prices.rates import Rate
from spanledger.semconv.providers import BILLERS, biller
from spanledger.semconv.usage import TOKEN_CLASSES

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
_DECIMALS: Final = 18
_TOO_LARGE: Final = Decimal(10) ** 12
FIRST_DAY: Final = date(1970, 1, 1)
LAST_DAY: Final = date(2149, 6, 5)
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


@dataclass(slots=True)
class Problems:
    """The mistakes found in a document so far."""

    document: Document
    file: str
    problems: list[Problem] = field(default_factory=list[Problem])

    def report(self, at: Path_, name: str, message: str) -> None:
        self.problems.append(Problem(self.file, self.document.line(at), name, message))


@dataclass(slots=True)
class Table:
    """One table of a file; remembers which fields were asked for."""

    found: Problems
    values: dict[str, object]
    at: Path_
    asked: set[str] = field(default_factory=set[str])

    def report(self, name: str, message: str) -> None:
        at = (*self.at, name) if name in self.values else self.at
        self.found.report(at, name, message)

    def no_others(self) -> None:
        for name in self.values:
            if name not in self.asked:
                self.report(name, "unknown field" + meant(name, sorted(self.asked)))

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
        before = len(self.found.problems)
        provider = self.provider("provider")
        model = self.text("model", required=model_required)
        start, last = self.day("from"), self.day("until")
        org, project = self.text("org"), self.text("project")
        if start and last and last < start:
            self.report("until", f"must not be before from ({start})")
        if start and start > LAST_DAY:
            self.report("from", f"must not be after {LAST_DAY}")
        if last and last < FIRST_DAY:
            self.report("until", f"must not be before {FIRST_DAY}")
        if "provider" not in self.values and "model" not in self.values and not model_required:
            self.report("provider", "is missing: a rule names a provider or a model")
        if len(self.found.problems) > before:
            return None
        return Scope(
            provider=provider,
            model=model or "*",
            org=org,
            project=project,
            valid_from=start if start and start >= FIRST_DAY else None,
            valid_to=last + timedelta(days=1) if last and last < LAST_DAY else None,
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
            self.report(name, f"unknown token class {word!r}" + meant(word, sorted(CLASSES | set(CLASS_WORDS))))
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
                at = Table(self.found, cast("dict[str, object]", value), (*self.at, unit))
                name = at.token_class(word, word)
                exact = at.amount(word, amount, Decimal(0))
                if name and exact is not None:
                    if name in found:
                        at.report(word, f"{name} has a rate already")
                    found[name] = Rate(exact, per)
        return found


def meant(word: str, known: Sequence[str]) -> str:
    """The end of a message about an unknown word: the nearest known one, else all of them."""
    near = similar.meant(word, known)
    return f": did you mean {near!r}?" if near else f": known are {', '.join(known)}"
