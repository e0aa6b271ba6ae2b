"""The base of the price book: the prices that ``genai-prices`` publishes, resolved into schedules of flat rates.

Reading the data takes some 10 ms, so it happens on first use, never at import time of this module. Which price holds
when (dates, hours, tiers, batch) `spanledger.semconv.prices.genai` is asked; only its answer is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from importlib.metadata import version
from typing import Final

from spanledger.semconv.money import CONTEXT
from spanledger.semconv.prices import names, reasons
from spanledger.semconv.prices.genai import bundled
from spanledger.semconv.prices.genai.models import FROM, HOURS, Model, Price, Provider, constraints, find, is_active
from spanledger.semconv.prices.rates import DayPlan, Flat, Rate, RateSnapshot, Schedule, Tariff, unit_of

SOURCE: Final = "genai-prices"

# The base data's price keys → our classes and counts, and the units that one price is for.
PRICE_KEYS: Final[Mapping[str, tuple[str, int]]] = {
    "input_mtok": ("input_uncached", 1_000_000),
    "output_mtok": ("output_text", 1_000_000),
    "cache_read_mtok": ("cache_read", 1_000_000),
    "cache_write_mtok": ("cache_write", 1_000_000),
    "cache_write_5m_mtok": ("cache_write_5m", 1_000_000),
    "cache_write_1h_mtok": ("cache_write_1h", 1_000_000),
    "input_audio_mtok": ("input_audio", 1_000_000),
    "input_image_mtok": ("input_image", 1_000_000),
    "input_video_mtok": ("input_video", 1_000_000),
    "input_tool_mtok": ("input_tool", 1_000_000),
    "output_audio_mtok": ("output_audio", 1_000_000),
    "output_image_mtok": ("output_image", 1_000_000),
    "output_video_mtok": ("output_video", 1_000_000),
    "output_reasoning_mtok": ("reasoning", 1_000_000),
    "output_citation_mtok": ("output_citation", 1_000_000),
    "cache_audio_read_mtok": ("cache_read_audio", 1_000_000),
    "cache_image_read_mtok": ("cache_read_image", 1_000_000),
    "cache_video_read_mtok": ("cache_read_video", 1_000_000),
    "cache_audio_write_mtok": ("cache_write_audio", 1_000_000),
    "cache_image_write_mtok": ("cache_write_image", 1_000_000),
    "input_mchars": ("input_characters", 1_000_000),
    "input_text_messages_kcount": ("input_text_messages", 1_000),
    "audio_hours": ("audio_seconds", 3_600),
    "input_audio_hours": ("input_audio_seconds", 3_600),
    "output_audio_hours": ("output_audio_seconds", 3_600),
    "input_gpixels": ("input_pixels", 1_000_000_000),
    "input_document_kpages": ("input_document_pages", 1_000),
    "input_annotated_document_kpages": ("input_annotated_document_pages", 1_000),
    "rerank_searches_kcount": ("rerank_searches", 1_000),
    "web_searches_kcount": ("web_searches", 1_000),
    "social_searches_kcount": ("social_searches", 1_000),
    "storage_searches_kcount": ("storage_searches", 1_000),
    "code_executions_kcount": ("code_executions", 1_000),
    "requests_kcount": ("requests", 1_000),
}

# Models that the base data lists without any price because they cost nothing.
_FREE: Final = re.compile(r"google/gemma-.*|openai/moderation|[^/]+/.*:free")
# Groq bills at least ten seconds of audio per request (groq.com/pricing).
_MINIMUM_SECONDS: Final = {"groq/whisper-large-v3": 10, "groq/whisper-large-v3-turbo": 10}
_CLAUDE: Final = re.compile(r"claude")

CLAUDE_WRITE: Final = "claude_write"
HALF_BATCH: Final = "half_batch"
"""Anthropic's Message Batches cost half of every token rate (platform.claude.com, batch processing), since they exist;
the data has batch rates only from the day on which somebody looked."""


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A model as the base data knows it."""

    provider: str
    """The ledger's word for who bills."""
    name: str
    info: Model
    is_own: bool
    """Whether the provider's own list has it; else these are the maker's prices (Azure selling OpenAI's models)."""


@dataclass(slots=True)
class _Slot:
    """A part of a day with one price: from ``second`` on; ``hours`` names it when the day has several."""

    second: int
    prices: Mapping[str, Price]
    is_known: bool
    rule: str = ""
    """Which of our own rules gives the price where the data is silent."""
    hours: str = ""


@dataclass(frozen=True, slots=True)
class Schedules:
    """Every schedule of one model: by tier, each with and without batch."""

    name: str
    standard: Schedule
    by_tier: Mapping[tuple[str, bool], Schedule]

    def pick(self, tier: str, is_batch: bool) -> Schedule:
        """The schedule of a tier; of an unheard-of tier the standard rates, marked as doubtful."""
        if not tier and not is_batch:
            return self.standard
        key = ("" if is_batch else tier, is_batch)
        known = self.by_tier.get(key)
        return known if known is not None else doubtful(self.standard, key[0], is_batch)


class BaseBook:
    """Read access to the base data. Thread-safe: it is read only once loaded.

    Args:
        providers: parsed data to use instead of what the installed package bundles (a refreshed download).
        source_version: names that data.
    """

    def __init__(self, providers: Sequence[Provider] | None = None, source_version: str = "") -> None:
        known = bundled.providers() if providers is None else providers
        self._by_id: Final = {provider.id: provider for provider in known}
        self.source_version: Final = source_version or version("genai_prices")
        words = {base: word for word, base in names.BASE_PROVIDERS.items() if word != "google_vertex"}
        self.providers: Final = tuple(
            [words.get(name, re.sub(r"[^a-z0-9]+", "_", name)) for name in self._by_id] + ["google_vertex"]
        )
        """The ledger's words of all providers that have prices."""

    def knows(self, provider: str) -> bool:
        return self._provider(provider) is not None

    def find(self, provider: str, model: str) -> BaseModel | None:
        """The model under any of its spellings, or ``None``."""
        base = self._provider(provider)
        if base is None:
            return None
        for name in names.candidates(provider, model):
            found = find(self._by_id, base, name)
            if found is not None:
                return BaseModel(provider, found.model.id, found.model, found.provider == base.id)
        return None

    def models(self, provider: str) -> tuple[str, ...]:
        """Names of all models that a provider has prices for, those of its fallback providers last."""
        return tuple(model.name for model in self.listed(provider))

    def listed(self, provider: str) -> Iterator[BaseModel]:
        """All models of a provider, those of its fallback providers last."""
        base = self._provider(provider)
        if base is None:
            return
        seen: set[str] = set()
        for source in (base, *(self._by_id[i] for i in base.fallback_model_providers if i in self._by_id)):
            for info in source.models():
                if info.id not in seen:
                    seen.add(info.id)
                    yield BaseModel(provider, info.id, info, source is base)

    def schedules(self, model: BaseModel) -> Schedules:
        """Every schedule of a model, resolved now; pure arithmetic afterwards."""
        tiers = sorted(
            {
                when.get("service_tier") or when.get("speed") or ""
                for when, _, _ in model.info.variants
                if model.is_own and "processing" not in when
            }
        )
        by_tier: dict[tuple[str, bool], Schedule] = {}
        for tier in (names.tier(tier) for tier in tiers):
            if tier:
                by_tier[tier, False] = self._schedule(model, tier=tier)
        by_tier["", True] = self._schedule(model, is_batch=True)
        return Schedules(model.name, self._schedule(model), by_tier)

    def _provider(self, provider: str) -> Provider | None:
        base = names.base_provider(provider)
        return self._by_id.get(base) or self._by_id.get(base.replace("_", "-"))

    def _schedule(self, model: BaseModel, tier: str = "", is_batch: bool = False) -> Schedule:
        days, times = _boundaries(model.info)
        first = days[0] - timedelta(days=1) if days else date(2000, 1, 1)
        begun: list[tuple[date | None, list[_Slot]]] = []
        for start in (None, *days):
            slots = _slots(model, start or first, times, tier, is_batch)
            if not begun or begun[-1][1] != slots:  # a date that matters only to another tier changes nothing here
                begun.append((start, slots))
        ends = [start for start, _ in begun[1:]] + [None]
        plans = [
            self._plan(model, slots, tier, is_batch, start, end)
            for (start, slots), end in zip(begun, ends, strict=True)
        ]
        return Schedule([start for start, _ in begun if start], plans)

    def _plan(
        self, model: BaseModel, slots: Sequence[_Slot], tier: str, is_batch: bool, start: date | None, end: date | None
    ) -> Tariff | DayPlan:
        tariffs = [self._tariff(model, slot, tier, is_batch, start, end) for slot in slots]
        if len(tariffs) == 1:
            return tariffs[0]
        return DayPlan(tuple(slot.second for slot in slots), tuple(tariffs))

    def _tariff(
        self,
        model: BaseModel,
        slot: _Slot,
        tier: str,
        is_batch: bool,
        start: date | None,
        end: date | None,
    ) -> Tariff:
        conditions: dict[str, str] = {}
        if slot.is_known and tier:
            conditions["service_tier"] = tier
        if slot.is_known and is_batch:
            conditions["batch"] = "true"
        if slot.hours:
            conditions["time_utc"] = slot.hours
        own = {key: price for key, price in slot.prices.items() if key in PRICE_KEYS}
        thresholds = sorted({start for price in own.values() for start, _ in price.tiers})

        def flat(prompt_over: int | None) -> Flat:
            rates = {
                PRICE_KEYS[key][0]: Rate(_amount(price, prompt_over), PRICE_KEYS[key][1]) for key, price in own.items()
            }
            slug = f"{names.base_provider(model.provider)}/{model.name}"
            if not rates and _FREE.fullmatch(slug):
                rates = {"input_uncached": Rate(Decimal(0)), "output_text": Rate(Decimal(0))}
            derived = [name for name in (_claude_write(model.name, rates), slot.rule) if name]
            if slot.rule == HALF_BATCH:
                rates = {name: _halved(rate) if unit_of(name) == "tokens" else rate for name, rate in rates.items()}
            least = _MINIMUM_SECONDS.get(slug)
            where = dict(conditions)
            if derived:
                where["derived"] = ",".join(derived)
            if prompt_over is not None:
                where["prompt_over"] = str(prompt_over)
            return Flat(
                RateSnapshot(
                    provider=model.provider,
                    model=model.name,
                    rates=rates,
                    source=SOURCE,
                    source_version=self.source_version,
                    valid_from=start,
                    valid_to=end,
                    conditions=where,
                    minimums={"audio_seconds": least, "input_audio_seconds": least} if least else {},
                )
            )

        tariff = Tariff(flat(None), tuple((threshold, flat(threshold)) for threshold in thresholds))
        return tariff if slot.is_known else _doubt(tariff, tier, is_batch)


def doubtful(standard: Schedule, tier: str, is_batch: bool) -> Schedule:
    """The standard schedule, every tariff marked: the tier that served the call has no known rate."""
    return standard.mapped(lambda tariff: _doubt(tariff, tier, is_batch))


def _doubt(tariff: Tariff, tier: str, is_batch: bool) -> Tariff:
    cheaper = is_batch or tier in names.CHEAPER_TIERS
    dearer = not is_batch and tier in names.DEARER_TIERS
    return Tariff(
        tariff.base,
        tariff.over,
        doubt=reasons.BATCH if is_batch else reasons.SERVICE_TIER,
        doubt_below=not dearer,
        doubt_above=not cheaper,
        note=tariff.note,
    )


def _prices_at(model: BaseModel, at: datetime, tier: str, is_batch: bool) -> tuple[dict[str, Price], bool]:
    """What the data says at an instant, and whether it knows the tier (else these are the standard prices)."""
    if not tier and not is_batch:
        return model.info.prices_at(at), True
    wanted = {"processing": "batch"} if is_batch else {"service_tier": tier, "speed": tier}
    matches = model.is_own and any(
        is_active(constraint, at) and all(wanted.get(key) == value for key, value in when.items())
        for when, constraint, _ in model.info.variants
    )
    return model.info.prices_at(at, wanted if matches else None), matches


def _boundaries(info: Model) -> tuple[list[date], list[time]]:
    """Days on which any price of a model begins, and times of day (UTC) at which one begins or ends; both rising."""
    days: set[date] = set()
    times: set[time] = set()
    for kind, start, end in constraints(info):
        if kind == FROM:
            days.add(date.fromordinal(start))
        elif kind == HOURS:
            times |= {time(edge // 3600, edge % 3600 // 60, edge % 60, tzinfo=UTC) for edge in (start, end)}
    return sorted(days), sorted(times)


def _slots(model: BaseModel, day: date, times: Sequence[time], tier: str, is_batch: bool) -> list[_Slot]:
    """The prices of one day by time of day, neighbours with the same price joined."""
    midnight = time(0, tzinfo=UTC)
    found: list[_Slot] = []
    for start in dict.fromkeys((midnight, *times)):
        prices, is_known = _prices_at(model, datetime.combine(day, start), tier, is_batch)
        rule = HALF_BATCH if is_batch and not is_known and _has_half_batch(model) else ""
        if not found or (found[-1].prices, found[-1].is_known) != (prices, is_known):
            second = start.hour * 3600 + start.minute * 60 + start.second
            found.append(_Slot(second, prices, is_known or bool(rule), rule))
    if len(found) == 1:
        return found
    edges = [*(slot.second for slot in found), found[0].second]
    wraps = (found[0].prices, found[0].is_known) == (found[-1].prices, found[-1].is_known)
    if wraps:  # the night before and the night after are one: 16:30-00:30
        edges[0], edges[-1] = edges[-2], edges[1]
    for index, slot in enumerate(found):
        slot.hours = f"{_clock(edges[index])}-{_clock(edges[index + 1])}"
    return found


def _clock(second: int) -> str:
    return f"{second // 3600:02d}:{second % 3600 // 60:02d}"


def _amount(price: Price, prompt_over: int | None) -> Decimal:
    """A price for prompts over a threshold: the last tier that starts at or below it."""
    chosen = price.base
    if prompt_over is not None:
        for start, longer in price.tiers:
            if start <= prompt_over:
                chosen = longer
    return chosen


def _has_half_batch(model: BaseModel) -> bool:
    is_too_old = model.name.startswith(("claude-1", "claude-2", "claude-v", "claude-instant"))
    return model.provider == "anthropic" and model.is_own and not is_too_old


def _halved(rate: Rate) -> Rate:
    return Rate(CONTEXT.divide(rate.amount, Decimal(2)), rate.per)


def _claude_write(model: str, rates: dict[str, Rate]) -> str:
    """Claude's one-hour cache writes cost twice the input where the data gives only the five-minute rate of 1.25 times.

    The multipliers are Anthropic's own (platform.claude.com, prompt caching) and hold with every reseller of the same
    list; the data leaves the second rate out for some of them. Adds the rate and returns the rule's name, or ``""``.
    """
    read, write = rates.get("input_uncached"), rates.get("cache_write")
    if not _CLAUDE.search(model) or read is None or write is None or "cache_write_1h" in rates:
        return ""
    if CONTEXT.multiply(read.amount, Decimal("1.25")) != write.amount:
        return ""
    rates["cache_write_1h"] = Rate(CONTEXT.multiply(read.amount, Decimal(2)), read.per)
    return CLAUDE_WRITE
