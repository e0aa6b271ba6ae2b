"""From the counts that an emitter reports to disjoint token classes.

Emitters disagree on whether input includes cached tokens and output includes reasoning. Each dialect says which; where
none can say, arithmetic decides, and what arithmetic leaves open is noted, never guessed silently.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableSequence
from typing import Final

from spanledger.semconv.usage import TOKEN_CLASSES, Usage, usage_of

COUNTS: Final = (
    "input",
    "output",
    "cache_read",
    "cache_write",
    "cache_write_5m",
    "cache_write_1h",
    "reasoning",
    "input_audio",
    "input_image",
    "output_audio",
    "output_image",
    "total",
    "web_searches",
)
"""The raw counts that a dialect may name: as reported, overlaps and all."""

EMPTY: Final = Usage()
_NO_COUNTS: Final = EMPTY.counts


def from_classes(classes: Mapping[str, int], counts: Mapping[str, int]) -> Usage:
    """A `Usage` of classes that are disjoint already."""
    return usage_of(*map(classes.get, TOKEN_CLASSES), counts or _NO_COUNTS, False, False)


def disjoint(
    counts: Mapping[str, int],
    notes: MutableSequence[str],
    *,
    input_holds_cache: bool | None,
    output_holds_reasoning: bool | None,
    partial: bool = False,
    estimated: bool = False,
) -> Usage:
    """Split reported counts into classes that never overlap.

    Args:
        counts: raw counts by the names in `COUNTS`; absent means not reported.
        notes: receives a word on every contradiction and every decision that arithmetic could not make.
        input_holds_cache: whether ``input`` includes the cache classes; ``None`` when the emitter is not known.
        output_holds_reasoning: likewise for ``output`` and ``reasoning``.
        partial: the numbers are a lower bound.
        estimated: the emitter guessed them.
    """
    get = counts.get
    total_in = get("input")
    total_out = get("output")
    read = get("cache_read")
    reasoning = get("reasoning")
    if (
        # Input, output, their sum and the usual two splits, without contradiction: nearly every span.
        total_in is not None
        and total_out is not None
        and (input_holds_cache or not read)
        and (output_holds_reasoning or not reasoning)
        and len(counts) == 2 + (read is not None) + (reasoning is not None) + ("total" in counts)
        and (read or 0) <= total_in
        and (reasoning or 0) <= total_out
        and get("total", total_in + total_out) == total_in + total_out
    ):
        return usage_of(
            total_in - (read or 0), read, None, None, None, None, None, total_out - (reasoning or 0), reasoning,
            None, None, _NO_COUNTS, partial, estimated,
        )  # fmt: skip

    short, long = get("cache_write_5m"), get("cache_write_1h")
    write = get("cache_write")
    write, short, long = _write_classes(write, short, long, notes)
    cached = (read or 0) + (write or 0) + (short or 0) + (long or 0)
    total = get("total")

    uncached = total_in
    if total_in is not None:
        audio, image = get("input_audio"), get("input_image")
        if cached:
            inclusive = input_holds_cache
            if cached > total_in:
                if inclusive:
                    notes.append("input_below_cache")
                inclusive = False
            elif inclusive is None:
                inclusive = _decide_input(total_in, cached, total, total_out, reasoning, notes)
            if inclusive:
                uncached = total_in - cached
        media = (audio or 0) + (image or 0)
        if uncached is not None and media:
            if media <= uncached:
                uncached -= media
            else:
                audio = image = None  # cached media: already inside cache_read
    else:
        audio, image = get("input_audio"), get("input_image")

    visible = total_out
    if total_out is not None and reasoning:
        holds = output_holds_reasoning
        if reasoning > total_out:
            if holds:
                notes.append("output_below_reasoning")
            holds = False
        elif total is not None and total_in is not None and total == total_in + total_out + reasoning:
            holds = False
        elif holds is None:
            holds = True  # what the conventions say; only arithmetic speaks against it
            if total is None:
                notes.append("ambiguous_output")
        if holds:
            visible = total_out - reasoning
    elif total_out is not None and reasoning is None and total is not None and total_in is not None:
        hidden = total - total_in - total_out
        if hidden > 0 and hidden != cached and (input_holds_cache or not cached):
            reasoning = hidden  # the total counts tokens that no other attribute names
            notes.append("reasoning_from_total")
    speech, drawn = get("output_audio"), get("output_image")
    made = (speech or 0) + (drawn or 0)
    if visible is not None and made:
        if made <= visible:
            visible -= made
        else:
            speech = drawn = None
    searches = get("web_searches")
    return usage_of(
        uncached, read, write, short, long, audio, image, visible, reasoning, speech, drawn,
        {"web_searches": searches} if searches else _NO_COUNTS, partial, estimated,
    )  # fmt: skip


def _write_classes(
    write: int | None, short: int | None, long: int | None, notes: MutableSequence[str]
) -> tuple[int | None, int | None, int | None]:
    """The undivided cache write left beside the 5-minute and 1-hour shares."""
    if short is None and long is None:
        return write, None, None
    known = (short or 0) + (long or 0)
    if write is None or write == known:
        return None, short, long
    if write > known:
        if short is None:  # one share is reported, the rest is the other one
            return None, write - known, long
        if long is None:
            return None, short, write - known
        return write - known, short, long
    notes.append("cache_write_split")
    return write, None, None


def _decide_input(
    total_in: int,
    cached: int,
    total: int | None,
    total_out: int | None,
    reasoning: int | None,
    notes: MutableSequence[str],
) -> bool:
    if total is not None and total_out is not None:
        spare = total - total_in - total_out
        if spare in (cached, cached + (reasoning or 0)):
            return False
        if spare in (0, reasoning or 0):
            # Some totals are the plain sum of two attributes whatever those mean: consistent, no proof.
            return True
    notes.append("ambiguous_input")
    return True
