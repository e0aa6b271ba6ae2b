"""Which reader a file needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from spanledger.reconciler.errors import ConfigError
from spanledger.reconciler.files.azure_details import AzureDetailsReader
from spanledger.reconciler.files.cur import CurReader
from spanledger.reconciler.files.focus import FocusReader
from spanledger.reconciler.files.mapped import GENERIC, CsvMapping, MappedReader, presets, read_mapping
from spanledger.reconciler.files.numbers import DECIMALS
from spanledger.reconciler.files.rows import RowReader
from spanledger.reconciler.files.tables import FileError

FORMATS: Final = ("auto", "focus", "cur", "azure", "generic")
"""``--format``; beside these the names of `presets`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatOptions:
    """What the user says about a file.

    Attributes:
        format: one of `FORMATS` or a preset's name.
        mapping: a mapping file; goes before ``format``.
        provider: who bills, in the ledger's words.
        currency: of amounts without one.
        decimal: the decimal sign of numbers that people wrote: ``.`` or ``,``; ``""`` when nobody said.
        all_services: keep a cloud's rows that are no model use.
        meters: the user's own table of Azure's meters (see `spanledger.reconciler.meters.azure.read_meter`).
    """

    format: str = "auto"
    mapping: Path | None = None
    provider: str = ""
    currency: str = ""
    decimal: str = ""
    all_services: bool = False
    meters: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])


def reader_for(options: FormatOptions, columns: Sequence[str], name: str) -> RowReader:
    """The reader of a file with these columns.

    Raises:
        FileError: unknown format, or columns that are missing.
        ConfigError: the mapping file or the decimal sign is wrong.
    """
    if options.decimal and options.decimal not in DECIMALS:
        raise ConfigError(f"--decimal {options.decimal!r}: it is '.' or ','")
    reader = _choose(options, columns, name)
    present = {column.lower() if isinstance(reader, AzureDetailsReader) else column for column in columns}
    missing = [column for column in reader.required if column not in present]
    if missing:
        raise FileError(
            f"{name} has no column {', '.join(missing)}; it has {', '.join(columns[:12])}"
            f"{', ...' if len(columns) > 12 else ''}"
        )
    return reader


def _choose(options: FormatOptions, columns: Sequence[str], name: str) -> RowReader:
    if options.mapping is not None:
        return _mapped(read_mapping(options.mapping), options)
    known = presets()
    if options.format == "auto":
        return _detect(options, columns, known, name)
    if options.format == "focus":
        return _focus(options)
    if options.format == "cur":
        return CurReader(provider=options.provider or "aws_bedrock")
    if options.format == "azure":
        return _azure(options)
    if options.format == "generic":
        return _mapped(GENERIC, options)
    if options.format in known:
        return _mapped(known[options.format], options)
    raise FileError(f"--format {options.format!r}: choose one of {', '.join((*FORMATS, *known))}")


def _detect(options: FormatOptions, columns: Sequence[str], known: dict[str, CsvMapping], name: str) -> RowReader:
    present = set(columns)
    lower = {column.lower() for column in columns}
    if {"BilledCost", "ChargePeriodStart"} <= present:
        return _focus(options)
    if "line_item_unblended_cost" in present:
        return CurReader(provider=options.provider or "aws_bedrock")
    if {"metercategory", "metername"} <= lower:
        return _azure(options)
    for mapping in known.values():
        if set(MappedReader(mapping=mapping).required) <= present:
            return _mapped(mapping, options)
    if {"date", "period_start"} & present and {"amount", "quantity"} & present:
        return _mapped(GENERIC, options)
    raise FileError(
        f"{name}: the format is not known from its columns ({', '.join(columns[:8])}, ...); "
        "give --format or --mapping FILE"
    )


def _mapped(mapping: CsvMapping, options: FormatOptions) -> MappedReader:
    return MappedReader(mapping=mapping, provider=options.provider, currency=options.currency, decimal=options.decimal)


def _focus(options: FormatOptions) -> FocusReader:
    return FocusReader(provider=options.provider, all_services=options.all_services, meters=options.meters)


def _azure(options: FormatOptions) -> AzureDetailsReader:
    return AzureDetailsReader(provider=options.provider or "azure_openai", meters=options.meters)
