"""Amazon Bedrock's counts as disjoint token classes.

Converse counts disjointly: ``inputTokens`` is the uncached prompt alone, cache reads and writes stand beside it
(Bedrock user guide, prompt caching). So do the token headers of InvokeModel (``x-amzn-bedrock-input-token-count``) and
the metrics that Bedrock adds to the last chunk of a stream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from spanledger.instrumentation._answer import Answer, Counted
from spanledger.instrumentation._reading import fields, integer, items, text
from spanledger.semconv.usage import TOKEN_CLASSES, Usage

Document = Mapping[str, Any]


_WRITES: Final = ("cache_write", "cache_write_5m", "cache_write_1h")


def read_usage(answer: Answer) -> Counted:
    """The token classes, which were worked out when the answer was read."""
    classes: dict[str, Any] = dict(answer.usage or {})
    return Counted(usage=Usage(counts=answer.counts or {}, partial=answer.is_partial, **classes))


def converse_classes(usage: Document) -> dict[str, int | None]:
    """A usage document of Converse or of a Nova body, which names the cache a little differently."""
    written = first(usage, "cacheWriteInputTokens", "cacheWriteInputTokenCount")
    by_lifetime = {
        text(fields(one).get("ttl")): integer(fields(one).get("inputTokens"))
        for one in items(usage.get("cacheDetails"))
    }
    written_5m, written_1h = by_lifetime.get("5m"), by_lifetime.get("1h")
    if written_5m is not None or written_1h is not None:
        left = (written or 0) - (written_5m or 0) - (written_1h or 0)
        written = left if left > 0 else None
    return {
        "input_uncached": first(usage, "inputTokens"),
        "cache_read": first(usage, "cacheReadInputTokens", "cacheReadInputTokenCount"),
        "cache_write": written,
        "cache_write_5m": written_5m,
        "cache_write_1h": written_1h,
        "output_text": first(usage, "outputTokens"),
    }


def header_classes(headers: Mapping[str, str]) -> dict[str, int | None]:
    def count(name: str) -> int | None:
        value = headers.get(f"x-amzn-bedrock-{name}-token-count", "")
        return int(value) if value.isdecimal() else None

    return {
        "input_uncached": count("input"),
        "cache_read": count("cache-read-input"),
        "cache_write": count("cache-write-input"),
        "output_text": count("output"),
    }


def metric_classes(metrics: Document) -> dict[str, int | None]:
    return {
        "input_uncached": first(metrics, "inputTokenCount"),
        "cache_read": first(metrics, "cacheReadInputTokenCount"),
        "cache_write": first(metrics, "cacheWriteInputTokenCount"),
        "output_text": first(metrics, "outputTokenCount"),
    }


def filled(classes: Mapping[str, int | None], further: Mapping[str, int | None]) -> dict[str, int | None]:
    """The classes, and those of the further source whose side was not told: input, cache or output."""
    found = dict(classes)
    for names in (("input_uncached",), ("cache_read",), _WRITES, ("output_text", "reasoning")):
        if all(found.get(name) is None for name in names):
            found.update({name: further[name] for name in names if further.get(name) is not None})
    return found


def first(document: Document, *names: str) -> int | None:
    return next((count for name in names if (count := integer(document.get(name))) is not None), None)


def known(classes: Mapping[str, int | None]) -> Mapping[str, int] | None:
    found = {name: count for name, count in classes.items() if count is not None}
    return found or None


def counted_by(reader: Callable[[Answer], Counted], usage: Document) -> tuple[dict[str, int | None], dict[str, int]]:
    counted = reader(Answer(usage=usage)).usage
    return {name: getattr(counted, name) for name in TOKEN_CLASSES}, dict(counted.counts)
