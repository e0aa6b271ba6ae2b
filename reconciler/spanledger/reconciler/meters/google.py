"""Google's SKU descriptions: ``Gemini 3 Flash Text Input - Predictions``, ``Generate content input token count ...``.

Descriptions are display text and change; a table keyed by SKU id would be better and is not published. What is not
recognised stays unclassified: its money counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Sku:
    """What a description says; ``""`` and ``None`` for what it does not."""

    model: str = ""
    token_class: str = ""
    service_tier: str = ""
    is_batch: bool | None = None
    context: str = ""


_GEMINI: Final = re.compile(
    r"gemini[ -](?P<version>\d+(?:\.\d+)?)[ -](?P<kind>pro|flash|ultra|nano)(?P<lite>[ -]lite)?(?P<image>[ -]image)?",
    re.I,
)
_EMBEDDING: Final = re.compile(r"(?:gemini-embedding-\d+|text-embedding-\d+|gemini embedding(?: \d+)?)", re.I)
_BEFORE_CLASS: Final = re.compile(
    r"^(?P<model>.+?)\s+(?:thinking\s+)?(?:(?:text|audio|image|video)\s+)?(?:cached\s+)?(?:input|output)\b", re.I
)
_GENERIC: Final = re.compile(r"^(generate[ _]content|embed ?content|online|batch)\b", re.I)

CLASSES: Final = (
    (re.compile(r"grounding with google search|google search", re.I), "web_searches"),
    (re.compile(r"grounding with google maps", re.I), "map_searches"),
    (re.compile(r"caching storage|cache storage", re.I), "storage"),
    (re.compile(r"audio\b.*\bcached input|cached audio input|audio input caching", re.I), "cache_read_audio"),
    (re.compile(r"cached input|input caching|cached content", re.I), "cache_read"),
    (re.compile(r"audio input|input audio|input token count.*\baudio", re.I), "input_audio"),
    (re.compile(r"image input|input image|input token count.*\bimage", re.I), "input_image"),
    (re.compile(r"video input|input video|input token count.*\bvideo", re.I), "input_video"),
    (re.compile(r"audio output|output audio|output token count.*\baudio", re.I), "output_audio"),
    (re.compile(r"image output|output image|output token count.*\bimage", re.I), "output_image"),
    (re.compile(r"input", re.I), "input_uncached"),
    (re.compile(r"output", re.I), "output_text"),
)
"""Words → class, tried in order. Output includes thinking: Google prices them alike."""


def read_sku(description: str) -> Sku:
    """Take a description apart."""
    token_class = next((name for pattern, name in CLASSES if pattern.search(description)), "")
    lower = description.lower()
    return Sku(
        model=_model(description),
        token_class=token_class,
        service_tier="priority" if "priority" in lower else "flex" if re.search(r"\bflex\b", lower) else "",
        is_batch=bool(re.search(r"\bbatch\b", lower)) if token_class else None,
        context="long" if "(long)" in lower or re.search(r"\blong\b", lower) else "",
    )


def _model(description: str) -> str:
    if match := _GEMINI.search(description):
        parts = (
            "gemini",
            match["version"],
            match["kind"],
            "lite" if match["lite"] else "",
            "image" if match["image"] else "",
        )
        return "-".join(part for part in parts if part).lower()
    if match := _EMBEDDING.search(description):
        return match[0].lower().replace(" ", "-")
    match = _BEFORE_CLASS.match(description)
    if match and not _GENERIC.match(description):
        return match["model"].strip().lower().replace(" ", "-")
    return ""
