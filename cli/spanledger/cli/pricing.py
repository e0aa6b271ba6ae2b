"""The price book that a command works with: the base, refreshed where asked for, under the user's overrides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from spanledger.cli import options
from spanledger.cli.errors import UserError

if TYPE_CHECKING:
    from spanledger.semconv.prices import PriceBook
    from spanledger.semconv.prices.base import BaseBook
    from spanledger.semconv.prices.overrides import Overrides

REFRESHED: Final = "prices-base.json"
"""In the data directory: the newest base data that `spanledger prices refresh` took over."""

Prices = Annotated[
    Path | None,
    options.option("--prices", "Overrides file: contracts, own models, deployment names, currencies (docs/prices.md)."),
]
PricesUrl = Annotated[
    str,
    options.option(
        "--prices-url", "Where newer base prices are fetched; name your mirror where the network is closed."
    ),
]
DEFAULT_PRICES_URL: Final = (
    "https://raw.githubusercontent.com/pydantic/genai-prices/refs/heads/main/prices/new_data/v2/data.json"
)
"""`spanledger.semconv.prices.refresh.DATA_URL`, without loading prices for every command."""


def book(overrides: Path | None, data: Path) -> PriceBook:
    """A price book.

    Args:
        overrides: the user's file, if any.
        data: directory that may hold refreshed base data.

    Raises:
        UserError: the overrides file or the refreshed data cannot be used; names file, line and field.
    """
    from spanledger.semconv.prices import PriceBook

    return PriceBook(contracts(overrides), base(data))


def contracts(overrides: Path | None) -> Overrides | None:
    """What the user's overrides file says, if there is one.

    Raises:
        UserError: the file cannot be used; names file, line and field.
    """
    from spanledger.semconv.prices.overrides_file import OverridesError, load_overrides

    try:
        return load_overrides(overrides) if overrides is not None else None
    except (OverridesError, OSError) as error:
        raise UserError(str(error)) from error


def base(data: Path) -> BaseBook | None:
    """Refreshed base data, or ``None`` where the bundled data holds."""
    from spanledger.semconv.prices.refresh import RefreshError, parse_base

    file = data / REFRESHED
    if not file.is_file():
        return None
    try:
        return parse_base(file.read_bytes())
    except (RefreshError, OSError) as error:
        raise UserError(f"{file}: {error}: remove it, or run spanledger prices refresh") from error
