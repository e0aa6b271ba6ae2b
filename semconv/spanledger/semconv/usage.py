"""What one call consumed, in classes that never overlap.

Providers and instrumentations disagree on whether "input" includes cached tokens and whether "output" includes
reasoning. Here every token stands in exactly one class, so that a price can be applied to each class once and the
totals can be derived. A class that was not reported is ``None`` (unknown), never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

INPUT_CLASSES: Final = (
    "input_uncached",
    "cache_read",
    "cache_write",
    "cache_write_5m",
    "cache_write_1h",
    "input_audio",
    "input_image",
)
OUTPUT_CLASSES: Final = ("output_text", "reasoning", "output_audio", "output_image")
TOKEN_CLASSES: Final = INPUT_CLASSES + OUTPUT_CLASSES

OTHER_MODELS: Final = "fallback_messages"
"""Count of answers of other models whose tokens are among those of the call: they have rates of their own."""

_NO_COUNTS: Final[Mapping[str, int]] = MappingProxyType({})


def _no_counts() -> Mapping[str, int]:
    return _NO_COUNTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Disjoint token counts of one call, plus per-use counts such as ``web_searches``.

    Attributes:
        input_uncached: prompt tokens at the full rate; all of the prompt when no cache split was reported.
        cache_read: prompt tokens served from a cache.
        cache_write: prompt tokens written to a cache whose lifetime was not reported.
        cache_write_5m: prompt tokens written to a 5-minute cache.
        cache_write_1h: prompt tokens written to a 1-hour cache.
        input_audio: uncached audio prompt tokens.
        input_image: uncached image prompt tokens.
        output_text: generated tokens that are not in another output class; all of the output, reasoning included,
            when no reasoning split was reported.
        reasoning: hidden reasoning ("thinking") tokens.
        output_audio: generated audio tokens.
        output_image: generated image tokens.
        counts: what is billed per use or per unit, by name (``web_searches``, ``cache_read_audio``, ...).
        partial: the stream broke off or was abandoned, or a class is known to be missing: a lower bound.
        estimated: the emitter guessed the numbers (a tokenizer), it did not get them from the provider.
    """

    input_uncached: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    input_audio: int | None = None
    input_image: int | None = None
    output_text: int | None = None
    reasoning: int | None = None
    output_audio: int | None = None
    output_image: int | None = None
    counts: Mapping[str, int] = field(default_factory=_no_counts)
    partial: bool = False
    estimated: bool = False

    @property
    def input_tokens(self) -> int | None:
        """All prompt tokens, cached ones included; ``None`` when no input class is known."""
        return known_sum(
            self.input_uncached,
            self.cache_read,
            self.cache_write,
            self.cache_write_5m,
            self.cache_write_1h,
            self.input_audio,
            self.input_image,
        )

    @property
    def cache_write_tokens(self) -> int | None:
        """Prompt tokens written to any cache; ``None`` when no cache-write class is known."""
        return known_sum(self.cache_write, self.cache_write_5m, self.cache_write_1h)

    @property
    def output_tokens(self) -> int | None:
        """All generated tokens, reasoning included; ``None`` when no output class is known."""
        return known_sum(self.output_text, self.reasoning, self.output_audio, self.output_image)

    @property
    def is_known(self) -> bool:
        """Whether at least one class or count was reported."""
        return self.input_tokens is not None or self.output_tokens is not None or bool(self.counts)


def known_sum(*parts: int | None) -> int | None:
    """The sum of the known parts, or ``None`` when all are unknown."""
    known = [part for part in parts if part is not None]
    return sum(known) if known else None
