"""The price data of the installed ``genai-prices``, and of its objects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from importlib.machinery import PathFinder
from importlib.util import find_spec
from typing import Any, Final

from spanledger.semconv.prices.genai import types
from spanledger.semconv.prices.genai.models import Provider

PACKAGE: Final = "genai_prices"
_UNREADABLE: Final = (AttributeError, NameError, TypeError, ValueError)


def providers() -> list[Provider]:
    """All providers of the installed package.

    Its data module is one list of constructor calls. It runs as if it stood in this package, where ``.types`` are our
    constructors; so neither its own classes nor what they need is imported. A data module with words that ours do not
    know is imported as it is, and read from its objects.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    code = _code()
    if code is not None:
        namespace: dict[str, Any] = {"__name__": f"{__package__}.data", "__package__": __package__}
        try:
            exec(code, namespace)  # noqa: S102 - the installed package's own module, which an import would run as well
            return list(namespace["providers"])
        except _UNREADABLE:
            pass
    from genai_prices.data import providers as theirs

    return list(from_objects(theirs))


def _code() -> Any:
    """The compiled data module, without importing the package around it; ``None`` where only an import can find it."""
    package = find_spec(PACKAGE)
    if package is None or package.submodule_search_locations is None:
        raise ModuleNotFoundError(f"No module named {PACKAGE!r}", name=PACKAGE)
    name = f"{PACKAGE}.data"
    spec = PathFinder.find_spec(name, list(package.submodule_search_locations))
    read = getattr(spec.loader, "get_code", None) if spec is not None else None
    return None if read is None else read(name)


def from_objects(objects: Iterable[Any]) -> Iterable[Provider]:
    """The same from the package's own ``Provider`` objects. A model that cannot be read is left out: it is unknown."""
    for provider in objects:
        models: list[bytes] = []
        for model in provider.models:
            try:
                models.append(_read(model))
            except _UNREADABLE:
                continue
        yield Provider(
            id=provider.id, models=models, fallback_model_providers=getattr(provider, "fallback_model_providers", None)
        )


def _read(value: Any) -> Any:
    if isinstance(value, list):
        return list(map(_read, value))  # pyright: ignore[reportUnknownArgumentType]
    name = type(value).__name__
    if name != "ModelPrice" and not is_dataclass(value):
        return value
    words: list[str] = [one.name for one in fields(value) if one.init] if is_dataclass(value) else [*vars(value)]
    return getattr(types, name)(**{word: _read(getattr(value, word)) for word in words})
