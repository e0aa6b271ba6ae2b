"""OpenAI's cost line items: an undocumented text that names model, token class and tier.

Seen forms: ``gpt-4o-mini-2024-07-18, cached input``; ``priority | gpt-5.6-sol, output, long context``;
``gpt-image-2-2026-04-21 image, output``; ``gpt-realtime-2.1-mini-2026-08-28, audio input``; ``whisper-1, audio``;
``web search tool calls``; and, in the reference, ``gpt-6-astra, input_tokens``. What is in no table below stays
unclassified: its money counts, its class is not guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class LineItem:
    """What a line item says. ``""`` and ``None`` stand for what it does not say."""

    model: str = ""
    token_class: str = ""
    service_tier: str = ""
    is_batch: bool | None = None
    context: str = ""
    """``long`` for the long-context rate."""
    origin: str = ""
    """What made the requests when it was not the API itself: ``evals``."""


CLASSES: Final[Mapping[str, str]] = {
    "input": "input_uncached",
    "input_tokens": "input_uncached",
    "text input": "input_uncached",
    "cached input": "cache_read",
    "cached text input": "cache_read",
    "text cached input": "cache_read",
    "cached_input_tokens": "cache_read",
    "input_cached_tokens": "cache_read",
    "cache writes": "cache_write",
    "cache_write_tokens": "cache_write",
    "input_cache_write_tokens": "cache_write",
    "output": "output_text",
    "output_tokens": "output_text",
    "text output": "output_text",
    "audio input": "input_audio",
    "cached audio input": "cache_read_audio",
    "audio cached input": "cache_read_audio",
    "audio output": "output_audio",
    "image input": "input_image",
    "cached image input": "cache_read_image",
    "image cached input": "cache_read_image",
    "image output": "output_image",
    "audio": "audio_seconds",
}
"""The words after the model (with the modality that may stand before them) → token class."""

TOOLS: Final[Mapping[str, str]] = {
    "web search tool calls": "web_searches",
    "web search": "web_searches",
    "assistants api | file search": "file_searches",
    "file search tool calls": "file_searches",
    "file search": "file_searches",
    "code interpreter": "code_interpreter_sessions",
    "code interpreter sessions": "code_interpreter_sessions",
    "assistants api | code interpreter": "code_interpreter_sessions",
    "vector storage": "storage",
    "assistants api | vector storage": "storage",
}
"""Whole line items, in lower case, that are no tokens of a model."""

_TIERS: Final = frozenset({"priority", "flex", "scale", "standard", "default"})
_MODALITIES: Final = ("image", "text", "audio")
_LONG_CONTEXT: Final = "long context"


def read_line_item(said: str) -> LineItem:
    """Take a line item apart."""
    tool = TOOLS.get(said.strip().lower())
    if tool is not None:
        return LineItem(token_class=tool)
    *prefixes, rest = said.split(" | ")
    tier, is_batch, origin = "", None, ""
    for prefix in (text.strip().lower() for text in prefixes):
        if prefix in _TIERS:
            tier = prefix
        elif prefix == "batch":
            is_batch = True
        else:
            origin = prefix
    model, *words = (part.strip() for part in rest.split(", "))
    context = ""
    if words and words[-1].lower() == _LONG_CONTEXT:
        context, words = "long", words[:-1]
    if not words:
        if model.lower() in CLASSES:
            return LineItem("", CLASSES[model.lower()], tier, is_batch, context, origin)
        return LineItem(service_tier=tier, is_batch=is_batch, context=context, origin=origin)
    wanted = " ".join(words).lower()
    name, _, last = model.rpartition(" ")
    if name and last.lower() in _MODALITIES:
        model, wanted = name, f"{last.lower()} {wanted}"
    return LineItem(model, CLASSES.get(wanted, ""), tier, is_batch, context, origin)
