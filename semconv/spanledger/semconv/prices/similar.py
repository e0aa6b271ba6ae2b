"""What a misspelt word may have meant. Likeness is a fraction; nothing here is about money."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from spanledger.semconv.prices.base import BaseBook

_CLOSE: Final = 0.6
_VERY_CLOSE: Final = 0.8
_MAKERS: Final = ("openai", "anthropic", "google", "aws_bedrock", "xai", "mistral", "deepseek", "groq", "cohere")
"""Whose models are suggested for a model that somebody else sells."""


def meant(word: str, known: Iterable[str], *, surely: bool = False) -> str:
    """The nearest known word, ``""`` when none is near; ``surely``: only when it is most likely a slip."""
    near = get_close_matches(word.lower(), list(known), n=1, cutoff=_VERY_CLOSE if surely else _CLOSE)
    return near[0] if near else ""


def models(base: BaseBook, provider: str, model: str, limit: int) -> list[str]:
    """Known models that look like ``model`` (``provider/model``): of the provider first, then of the makers."""
    wanted = model.strip().lower()
    own = {name.lower(): f"{provider}/{name}" for name in base.models(provider)}
    found = [own[name] for name in get_close_matches(wanted, own, n=limit, cutoff=_CLOSE)]
    if len(found) < limit and wanted:
        matcher = SequenceMatcher(b=wanted.rsplit("/", 1)[-1])
        others: list[tuple[float, str]] = []
        for word in _MAKERS:
            for name in base.models(word) if word != provider else ():
                matcher.set_seq1(name.lower())
                if matcher.real_quick_ratio() > _VERY_CLOSE and matcher.quick_ratio() > _VERY_CLOSE:
                    others.append((-matcher.ratio(), f"{word}/{name}"))
        found.extend(name for _, name in sorted(others)[: limit - len(found)])
    return found
