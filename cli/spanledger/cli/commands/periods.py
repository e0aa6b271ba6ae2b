"""``spanledger periods``: close a month with a statement that cannot be changed unnoticed, and verify it anywhere."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spanledger.cli import options, output, pricing
from spanledger.cli.errors import UserError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from spanledger.reconciler.closing.periods import Periods
    from spanledger.reconciler.statements import Statement
    from spanledger.reconciler.tieout.run import Period

SigningKey = Annotated[
    Path | None,
    options.option("--signing-key-file", "Ed25519 private key (PEM) that signs the statement."),
]
PeriodName = Annotated[str, typer.Argument(help="A month (2026-11) or days (2026-11-01..2026-11-15).")]


def close(
    period: PeriodName,
    signing_key_file: SigningKey = None,
    force: Annotated[
        bool, options.option("--force", "Close although days are missing or may still be restated.")
    ] = False,
    prices: pricing.Prices = None,
    org: options.Org = options.DEFAULT_ORG,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
) -> None:
    """Freeze a period: its tie-out and shares become a hash-chained statement, printed as one line of JSON."""
    key = _key(signing_key_file)
    with _periods(org, data, clickhouse, prices) as periods:
        statement = periods.close(_period(period), today=datetime.now(UTC).date(), key=key, force=force)
    output.say(statement.to_json())


def reopen(
    period: PeriodName,
    reason: Annotated[str, options.option("--reason", "Why; stays in the chain.")],
    signing_key_file: SigningKey = None,
    org: options.Org = options.DEFAULT_ORG,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
) -> None:
    """Take a closing back. The old statement stays, and the reason follows it in the chain."""
    key = _key(signing_key_file)
    with _periods(org, data, clickhouse) as periods:
        statement = periods.reopen(_period(period), reason, key=key)
    output.say(statement.to_json())


def list_(
    prices: pricing.Prices = None,
    org: options.Org = options.DEFAULT_ORG,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
    json: options.Json = False,
) -> None:
    """The log of closings, and what was restated since."""
    with _periods(org, data, clickhouse, prices) as periods:
        log = periods.log()
        restated = periods.restatements(datetime.now(UTC).date())
    rows = [[e.number, e.period, e.action, e.reason, e.recorded_at, e.statement.digest] for e in log]
    columns = ["number", "period", "action", "reason", "recorded_at", "digest"]
    if json:
        output.print_json({"log": output.records(columns, rows), "restated": restated})
        return
    if not rows:
        output.say("No period was closed yet: spanledger periods close 2026-11 closes a month.")
        return
    output.print_table(columns, rows)
    for change in restated:
        output.say(
            f"restated since: {change['period']}, {change['connection']}: billed {change['billed_usd']} USD, "
            f"booked {change['booked_usd']} USD; an adjustment of the next period that is closed"
        )
        for name, amount in change["residuals"].items():
            output.say(f"  {name} {amount} USD")


def show(
    number: Annotated[int, typer.Argument(help="The entry's number in `spanledger periods list`.")],
    org: options.Org = options.DEFAULT_ORG,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
) -> None:
    """Print one statement, as an auditor gets it."""
    with _periods(org, data, clickhouse) as periods:
        found = next((entry for entry in periods.log() if entry.number == number), None)
    if found is None:
        raise UserError(f"no entry {number}: see spanledger periods list")
    output.say(found.statement.to_json())


def verify(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Statements, oldest first, one JSON document a line; without files, the store's own chain."
        ),
    ] = None,
    trusted_key: Annotated[
        list[str] | None, options.option("--trusted-key", "Public key (hex) that must have signed; may be repeated.")
    ] = None,
    org: options.Org = options.DEFAULT_ORG,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
) -> None:
    """Check hashes, order and signatures. With files it needs neither a store nor a server."""
    from spanledger.reconciler.statements import StatementError
    from spanledger.reconciler.statements import verify as verify_chain

    trusted = frozenset(trusted_key) if trusted_key else None
    try:
        if files:
            chain = [_statement(file, number, line) for file in files for number, line in _lines(file)]
            verify_chain(chain, trusted_keys=trusted)
            count = len(chain)
        else:
            with _periods(org, data, clickhouse) as periods:
                count = periods.verify(trusted_keys=trusted)
    except StatementError as error:
        raise UserError(str(error)) from error
    output.say(f"{count} statement{'' if count == 1 else 's'} verified")


@contextmanager
def _periods(org: str, data: Path, clickhouse: str, prices: Path | None = None) -> Generator[Periods]:
    from spanledger.cli import access
    from spanledger.reconciler.clock import SystemClock
    from spanledger.reconciler.closing.periods import Periods, PeriodStateError
    from spanledger.reconciler.tieout.model_names import ModelNames

    names = ModelNames.of(pricing.contracts(prices), org)
    with access.client(data, clickhouse) as client, access.readable_errors():
        try:
            yield Periods(client, SystemClock(), names, org)
        except PeriodStateError as error:
            raise UserError(str(error)) from error


def _period(text: str) -> Period:
    from spanledger.reconciler.tieout.run import Period, PeriodError

    try:
        return Period.parse(text)
    except PeriodError as error:
        raise UserError(str(error)) from error


def _lines(file: Path) -> list[tuple[int, str]]:
    """The lines of a file that hold something, with their numbers."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {file}: {error}") from error
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        raise UserError(f"{file} holds no statement: nothing was verified")
    return lines


def _statement(file: Path, number: int, line: str) -> Statement:
    from spanledger.reconciler.statements import StatementError, parse

    try:
        return parse(line)
    except StatementError as error:
        raise UserError(f"{file}:{number}: {error}") from error


def _key(file: Path | None) -> Ed25519PrivateKey | None:
    if file is None:
        return None
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"cannot read the signing key {file}: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError(f"the signing key {file} is not an Ed25519 key: openssl genpkey -algorithm ed25519 makes one")
    return key
