"""Azure's meter names for models: ``gpt 4.1 cached Inp glbl Tokens``, ``gpt-4o-0806-Outp-regnl Tokens``.

The names are irregular: words are looked up in a table, and what stands before the first known word is the model. A
meter without a direction, or with a word that is in no table, stays unclassified: its money counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final


@dataclass(frozen=True, slots=True)
class Meter:
    """What a meter name says; ``""`` and ``None`` for what it does not."""

    model: str = ""
    token_class: str = ""
    service_tier: str = ""
    is_batch: bool | None = None
    deployment: str = ""
    """``global``, ``data_zone`` or ``regional``."""
    context: str = ""
    tokens_per_unit: Decimal | None = None
    """Older meters say ``Tokens`` and count thousands, newer ones say ``1M``; some say neither (``... Inp Std Gl``)."""


WORDS: Final[Mapping[str, tuple[str, str]]] = {
    **dict.fromkeys(("inp", "inpt", "input", "in"), ("direction", "input")),
    **dict.fromkeys(("outp", "opt", "output", "out", "outpt"), ("direction", "output")),
    **dict.fromkeys(("cached", "cchd", "cd", "cache", "cch"), ("cached", "yes")),
    **dict.fromkeys(("glbl", "gl", "glb", "global"), ("deployment", "global")),
    **dict.fromkeys(("regnl", "rgnl", "rgn", "regional", "reg"), ("deployment", "regional")),
    **dict.fromkeys(("dz", "dzn", "dzone", "datazone"), ("deployment", "data_zone")),
    **dict.fromkeys(("batch", "bch"), ("batch", "yes")),
    **dict.fromkeys(("pp", "priority", "prio"), ("tier", "priority")),
    **dict.fromkeys(("flex", "flx"), ("tier", "flex")),
    **dict.fromkeys(("std", "standard"), ("tier", "standard")),
    **dict.fromkeys(("aud", "audio"), ("modality", "audio")),
    **dict.fromkeys(("img", "image"), ("modality", "image")),
    **dict.fromkeys(("txt", "text"), ("modality", "text")),
    **dict.fromkeys(("shortco", "shrtco"), ("context", "short")),
    **dict.fromkeys(("longco", "lngco"), ("context", "long")),
    **dict.fromkeys(("tokens", "token", "1k"), ("unit", "1000")),
    "1m": ("unit", "1000000"),
}
"""Word in lower case → (what it says, its value)."""

_CLASSES: Final = {
    ("input", "", ""): "input_uncached",
    ("input", "", "text"): "input_uncached",
    ("input", "", "audio"): "input_audio",
    ("input", "", "image"): "input_image",
    ("input", "yes", ""): "cache_read",
    ("input", "yes", "text"): "cache_read",
    ("input", "yes", "audio"): "cache_read_audio",
    ("input", "yes", "image"): "cache_read_image",
    ("output", "", ""): "output_text",
    ("output", "", "text"): "output_text",
    ("output", "", "audio"): "output_audio",
    ("output", "", "image"): "output_image",
}
_PROVISIONED: Final = re.compile(r"\b(provisioned|ptu|ptum)\b", re.I)
_LEADING_DIGIT: Final = re.compile(r"\d")


def read_meter(name: str, overrides: Mapping[str, tuple[str, str]] | None = None) -> Meter:
    """Take a meter name apart.

    Args:
        name: as on the bill.
        overrides: the user's own table, meter name in lower case → (model, token class).
    """
    own = (overrides or {}).get(name.strip().lower())
    if _PROVISIONED.search(name) and own is None:
        return Meter(token_class="provisioned_hours")  # noqa: S106 - a class of usage
    words = re.sub(r"data\s*zone", "datazone", name, flags=re.I).replace("-", " ").split()
    model_words: list[str] = []
    said: dict[str, str] = {}
    unknown = False
    for word in words:
        found = WORDS.get(word.lower())
        if found is not None and (model_words or said):
            said[found[0]] = found[1] if found[0] != "unit" or said.get("unit") != "1000000" else "1000000"
        elif said:
            unknown = True
        else:
            model_words.append(word)
    model = "-".join(model_words).lower()
    if _LEADING_DIGIT.match(model):
        model = f"gpt-{model}"  # "5.4 nano": the family's name is left out
    token_class = _CLASSES.get((said.get("direction", ""), said.get("cached", ""), said.get("modality", "")), "")
    if unknown or not model_words:
        token_class = ""
    if own is not None:
        model, token_class = own
    elif not token_class:
        model = ""
    return Meter(
        model=model,
        token_class=token_class,
        service_tier=said.get("tier", ""),
        is_batch="batch" in said if token_class else None,
        deployment=said.get("deployment", ""),
        context=said.get("context", ""),
        tokens_per_unit=Decimal(said["unit"]) if "unit" in said else None,
    )
