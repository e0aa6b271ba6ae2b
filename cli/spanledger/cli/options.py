"""Options that several commands share, and the rule that gives every option its environment variable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

ENV_PREFIX: Final = "SPANLEDGER_"


def option(flag: str, help_text: str, *, env: str = "", **extra: Any) -> Any:
    """An option and its variable: ``--otlp-grpc`` reads ``SPANLEDGER_OTLP_GRPC`` unless ``env`` is given."""
    name = env or ENV_PREFIX + flag.split("/")[0].removeprefix("--").replace("-", "_").upper()
    return typer.Option(flag, envvar=name, help=help_text, **extra)


DEFAULT_DATA: Final = Path("spanledger-data")

Data = Annotated[
    Path,
    option(
        "--data",
        "Directory of the embedded store and the journal. While a server runs on it, other commands talk to it.",
    ),
]
ClickHouse = Annotated[
    str,
    option(
        "--clickhouse",
        "Keep the ledger in a ClickHouse server instead: http(s)://user:password@host:8123/?cluster=name.",
        env="SPANLEDGER_CLICKHOUSE_URL",
    ),
]
Json = Annotated[bool, option("--json", "Print JSON for scripts instead of a table.")]
Org = Annotated[str, option("--org", "The organisation that the calls belong to.")]
DEFAULT_ORG: Final = "default"
