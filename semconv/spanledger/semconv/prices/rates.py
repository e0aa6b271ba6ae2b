"""Resolved prices: flat rates per token class, chosen by day, hour, prompt size, tier and contract beforehand.

A `RateSnapshot` is what an auditor sees: named, dated, immutable. A `Tariff` is the same ready for arithmetic, with one
bracket per long-context threshold. A `Schedule` says which tariff holds at an instant.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from spanledger.semconv.money import CONTEXT, text
from spanledger.semconv.usage import OUTPUT_CLASSES, TOKEN_CLASSES

MTOK: Final = 1_000_000
_EIGHTEEN: Final = Decimal(1).scaleb(-18)
NS_PER_SECOND: Final = 1_000_000_000
SECONDS_PER_DAY: Final = 86_400

_NO_CONDITIONS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Rate:
    """``amount`` US dollars for ``per`` units (tokens: a million; searches: a thousand; seconds of audio: 3600)."""

    amount: Decimal
    per: int = MTOK

    def times(self, quantity: int) -> Decimal:
        """Dollars for a quantity: exact, or half-even to 18 digits where decimals never end (an hour's rate)."""
        dollars = CONTEXT.divide(CONTEXT.multiply(self.amount, quantity), Decimal(self.per))
        return dollars.quantize(_EIGHTEEN, context=CONTEXT) if _is_endless(dollars) else dollars

    @property
    def exact_each(self) -> Decimal | None:
        """Dollars for one unit where that is an exact decimal (a thousandth of a dollar, no hour's 3600th)."""
        each = self.each
        return None if _is_endless(each) else each

    def storable(self) -> Rate:
        """The rate with the 18 digits behind the point that the table of prices keeps, rounded half-even.

        A discount or an exchange rate with many digits gives more; what priced a call must be what can be read back.
        """
        rounded = self.amount.quantize(_EIGHTEEN, context=CONTEXT)
        return self if rounded == self.amount else Rate(rounded, self.per)

    @property
    def each(self) -> Decimal:
        """Dollars for one unit."""
        return CONTEXT.divide(self.amount, Decimal(self.per))


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSnapshot:
    """One set of flat rates that can be cited: the same ``price_id`` always means the same numbers.

    Attributes:
        provider: the ledger's word for who bills.
        model: the price book's name of the model (``gpt-4o-mini`` for ``gpt-4o-mini-2024-07-18``).
        rates: dollars per token class or count name; a class that is missing has no rate.
        valid_from: first UTC day on which these rates held; ``None`` when the source does not say.
        valid_to: first UTC day on which they no longer held; ``None`` when open. Not part of the identity.
        conditions: what else had to hold: ``service_tier``, ``batch``, ``prompt_over`` (tokens), ``time_utc``,
            ``inference_geo``, ``org``, ``project``, ``contract``. ``derived`` names the rules of our own that filled
            gaps of the source.
        source: where the rates come from (``genai-prices``, an overrides file) and in which version.
        minimums: smallest billed quantity per count name, where the provider sets one.
    """

    provider: str
    model: str
    rates: Mapping[str, Rate]
    source: str
    source_version: str
    valid_from: date | None = None
    valid_to: date | None = None
    conditions: Mapping[str, str] = field(default_factory=lambda: _NO_CONDITIONS)
    minimums: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    price_id: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "price_id", _identity(self))

    def rate_of(self, name: str) -> Rate | None:
        """The rate under which a class or count is billed: its own or that of the class it falls under.

        Embedding models bill pictures and sound apart from text (Cohere Embed 4, Gemini Embedding 2): without a rate
        of their own they have none.
        """
        if name in _OTHER_MEDIA and name not in self.rates and "embed" in self.model.lower():
            return None
        while name not in self.rates:
            if name not in FALLBACK:
                return None
            name = FALLBACK[name]
        return self.rates[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRecord:
    """One rate of one snapshot: a row for a table of prices. ``rate`` is in dollars per ``per`` ``unit``."""

    price_id: str
    provider: str
    model: str
    token_class: str
    rate: Decimal
    per: int
    unit: str
    conditions: Mapping[str, str]
    valid_from: date | None
    valid_to: date | None
    source: str
    source_version: str


def _is_endless(quotient: Decimal) -> bool:
    return len(quotient.as_tuple().digits) == CONTEXT.prec


_MINIMUM: Final = "minimum_"


def records_of(snapshot: RateSnapshot) -> Iterator[PriceRecord]:
    """The snapshot's rates, one record each, smallest billed quantities among the conditions; see `snapshot_of`."""
    minimums = {f"{_MINIMUM}{name}": str(least) for name, least in snapshot.minimums.items()}
    conditions = {**snapshot.conditions, **minimums}
    for name, rate in snapshot.rates.items():
        yield PriceRecord(
            price_id=snapshot.price_id,
            provider=snapshot.provider,
            model=snapshot.model,
            token_class=name,
            rate=rate.amount,
            per=rate.per,
            unit=unit_of(name),
            conditions=conditions,
            valid_from=snapshot.valid_from,
            valid_to=snapshot.valid_to,
            source=snapshot.source,
            source_version=snapshot.source_version,
        )


def snapshot_of(records: Sequence[PriceRecord]) -> RateSnapshot:
    """The snapshot whose records these are: all of them, and at least one."""
    first = records[0]
    names = {name: name.removeprefix(_MINIMUM) for name in first.conditions if name.startswith(_MINIMUM)}
    return RateSnapshot(
        provider=first.provider,
        model=first.model,
        rates={record.token_class: Rate(record.rate.normalize(), record.per) for record in records},
        source=first.source,
        source_version=first.source_version,
        valid_from=first.valid_from,
        valid_to=first.valid_to,
        conditions={name: value for name, value in first.conditions.items() if name not in names},
        minimums={count: int(first.conditions[name]) for name, count in names.items()},
    )


def unit_of(name: str) -> str:
    """``tokens`` for token classes and token-like counts, else what the count counts (``seconds``, ``searches``)."""
    if name in TOKEN_CLASSES or name in PROMPT_COUNTS or name in OUTPUT_COUNTS:
        return "tokens"
    return name.rsplit("_", 1)[-1]


FALLBACK: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cache_read": "input_uncached",
        "cache_write": "input_uncached",
        "cache_write_5m": "cache_write",
        "cache_write_1h": "cache_write",
        "input_audio": "input_uncached",
        "input_image": "input_uncached",
        "input_video": "input_uncached",
        "input_tool": "input_uncached",
        "cache_read_audio": "cache_read",
        "cache_read_image": "cache_read",
        "cache_read_video": "cache_read",
        "cache_write_audio": "cache_write",
        "cache_write_image": "cache_write",
        "reasoning": "output_text",
        "output_audio": "output_text",
        "output_image": "output_text",
        "output_video": "output_text",
        "output_citation": "output_text",
        "input_audio_seconds": "audio_seconds",
        "output_audio_seconds": "audio_seconds",
        "input_annotated_document_pages": "input_document_pages",
    }
)
"""Under which class a class is billed that has no rate of its own."""

_OTHER_MEDIA: Final = frozenset(("input_audio", "input_image", "input_video"))

PROMPT_COUNTS: Final = (
    "cache_read_audio",
    "cache_read_image",
    "cache_read_video",
    "cache_write_audio",
    "cache_write_image",
    "input_video",
    "input_tool",
)
"""Counts that are prompt tokens: they take part in choosing the long-context bracket."""
OUTPUT_COUNTS: Final = ("output_video", "output_citation")
"""Counts that are generated tokens."""


def _identity(snapshot: RateSnapshot) -> str:
    parts = [
        snapshot.source,
        snapshot.source_version,
        snapshot.provider,
        snapshot.model,
        snapshot.valid_from.isoformat() if snapshot.valid_from else "",
        *(f"{key}={value}" for key, value in sorted(snapshot.conditions.items())),
        *(f"{name}:{text(rate.amount)}/{rate.per}" for name, rate in sorted(snapshot.rates.items())),
        *(f"min:{name}:{least}" for name, least in sorted(snapshot.minimums.items())),
    ]
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


_USUAL_CLASSES: Final = (
    "input_uncached",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "output_text",
    "reasoning",
)
"""The classes of a text call; a cache write of unknown lifetime has the rate of the shorter one."""


class Flat:
    """A snapshot ready for arithmetic: dollars for one token per class, in the order of `TOKEN_CLASSES`."""

    __slots__ = (
        "count_each",
        "count_rates",
        "each",
        "long_write_premium",
        "max_output",
        "minimums",
        "per_request",
        "price_id",
        "snapshot",
        "usual",
    )

    def __init__(self, snapshot: RateSnapshot) -> None:
        self.snapshot: Final = snapshot
        self.price_id: Final = snapshot.price_id
        # A write of unknown lifetime is priced as the shorter one.
        names = ["cache_write_5m" if name == "cache_write" else name for name in TOKEN_CLASSES]
        self.each: Final = tuple(_each(snapshot.rate_of(name)) for name in names)
        short, long = (self.each[TOKEN_CLASSES.index(name)] for name in ("cache_write_5m", "cache_write_1h"))
        self.long_write_premium: Final = None if short is None or long is None else CONTEXT.subtract(long, short)
        """What a token in the one-hour cache costs more than in the five-minute cache; zero or ``None``: nothing."""
        self.usual: Final = tuple(self.each[TOKEN_CLASSES.index(name)] for name in _USUAL_CLASSES)
        counts = [*PROMPT_COUNTS, *OUTPUT_COUNTS, "input_audio_seconds", "output_audio_seconds", *snapshot.rates]
        priced = {name: snapshot.rate_of(name) for name in counts if name not in TOKEN_CLASSES}
        self.per_request: Final = _each(priced.pop("requests", None))
        self.count_rates: Final = {name: rate for name, rate in priced.items() if rate is not None}
        self.count_each: Final = {
            name: each for name, rate in self.count_rates.items() if (each := rate.exact_each) is not None
        }
        """Dollars for one of what is billed by the use, where that is an exact decimal."""
        self.minimums: Final = snapshot.minimums
        outputs = [
            each
            for name, each in zip(TOKEN_CLASSES, self.each, strict=True)
            if name in OUTPUT_CLASSES and each is not None
        ]
        # An embedding generates nothing, even where a price list repeats the input rate for its output.
        self.max_output: Final = max(outputs) if outputs and "embed" not in snapshot.model.lower() else None
        """What one more generated token can cost at most: bounds a broken stream. ``None``: nothing is generated."""


def _each(rate: Rate | None) -> Decimal | None:
    return None if rate is None else rate.each


@dataclass(frozen=True, slots=True)
class Tariff:
    """Flat rates per prompt size, and what is in doubt about them.

    Attributes:
        base: rates of a prompt that exceeds no threshold.
        over: ``(threshold, rates)`` rising: the rates of every token once the whole prompt has more tokens.
        doubt: `reasons.SERVICE_TIER` or `reasons.BATCH` when the served tier has no known rate and these are the
            standard ones, `reasons.INFERENCE_GEO` when the place of inference may cost extra; ``""`` otherwise.
        doubt_below: the true cost may be lower (a discounted tier).
        doubt_above: the true cost may be higher (a premium tier).
        at_most: then it is at most so many times as high; ``None``: nobody knows.
        note: `reasons.PROVISIONED` when the call itself adds nothing to the bill.
    """

    base: Flat
    over: tuple[tuple[int, Flat], ...] = ()
    doubt: str = ""
    doubt_below: bool = False
    doubt_above: bool = False
    at_most: Decimal | None = None
    note: str = ""

    def flat(self, prompt_tokens: int) -> Flat:
        """The rates for a whole prompt of that many tokens (cached ones included)."""
        chosen = self.base
        for threshold, flat in self.over:
            if prompt_tokens <= threshold:
                break
            chosen = flat
        return chosen

    def flats(self) -> Iterator[Flat]:
        yield self.base
        for _, flat in self.over:
            yield flat


@dataclass(frozen=True, slots=True)
class DayPlan:
    """Which tariff holds at which second of a UTC day: ``tariffs[i]`` from ``starts[i]`` on."""

    starts: tuple[int, ...]
    tariffs: tuple[Tariff, ...]

    def at(self, second: int) -> Tariff:
        return self.tariffs[bisect_right(self.starts, second) - 1]


class Schedule:
    """All tariffs of one model under one tier and contract, by instant."""

    __slots__ = ("_days", "_plans", "_starts", "only")

    def __init__(self, days: Sequence[date], plans: Sequence[Tariff | DayPlan]) -> None:
        """``plans[0]`` holds before ``days[0]``, ``plans[i + 1]`` from UTC midnight of ``days[i]`` on."""
        self._days = tuple(days)
        self._starts = [day_ns(day) for day in days]
        self._plans = tuple(plans)
        first = self._plans[0]
        self.only: Final = first if len(self._plans) == 1 and isinstance(first, Tariff) else None
        """The one tariff of a model whose price never changed."""

    def at(self, at_ns: int) -> Tariff:
        """The tariff at an instant (ns since the epoch, UTC)."""
        plan = self._plans[bisect_right(self._starts, at_ns)]
        if isinstance(plan, Tariff):
            return plan
        return plan.at(at_ns // NS_PER_SECOND % SECONDS_PER_DAY)

    @property
    def days(self) -> tuple[date, ...]:
        """UTC days on which another plan begins, rising."""
        return self._days

    def plan_on(self, day: date | None) -> Tariff | DayPlan:
        """The plan of a UTC day; ``None``: of the time before `days`."""
        return self._plans[0 if day is None else bisect_right(self._days, day)]

    def mapped(self, change: Callable[[Tariff], Tariff]) -> Schedule:
        """The same schedule with every tariff replaced."""
        return Schedule(
            self._days,
            [
                change(plan) if isinstance(plan, Tariff) else DayPlan(plan.starts, tuple(map(change, plan.tariffs)))
                for plan in self._plans
            ],
        )

    def tariffs(self) -> Iterator[Tariff]:
        for plan in self._plans:
            if isinstance(plan, Tariff):
                yield plan
            else:
                yield from plan.tariffs

    def snapshots(self) -> Iterator[RateSnapshot]:
        for tariff in self.tariffs():
            for flat in tariff.flats():
                yield flat.snapshot


def day_ns(day: date) -> int:
    """UTC midnight of a day in ns since the epoch."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * NS_PER_SECOND
