"""Bills as files: FOCUS of every version, mappings, presets, and what each row becomes."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from csv import DictWriter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import zstandard
from fakes.base import Fake

from spanledger.reconciler.errors import ConfigError, State
from spanledger.reconciler.files.formats import FormatOptions
from spanledger.reconciler.files.importing import RowFate, fates, import_files
from spanledger.reconciler.files.mapped import parse_mapping, presets
from spanledger.reconciler.files.rows import Remarks
from spanledger.reconciler.files.tables import FileError
from spanledger.reconciler.files.units import read_unit
from spanledger.reconciler.store import BillStore

Write = Callable[..., Path]

BASE = {
    "BilledCost": "1.5",
    "BillingCurrency": "USD",
    "BillingPeriodStart": "2026-11-01T00:00:00Z",
    "BillingPeriodEnd": "2026-12-01T00:00:00Z",
    "ChargeCategory": "Usage",
    "ChargeClass": "",
    "ChargePeriodStart": "2026-11-03T00:00:00Z",
    "ChargePeriodEnd": "2026-11-04T00:00:00Z",
    "ServiceName": "OpenAI API",
    "SkuMeter": "Input Tokens",
    "ConsumedQuantity": "2",
    "ConsumedUnit": "1000000 Tokens",
    "EffectiveCost": "1.5",
    "ListCost": "2",
    "SubAccountId": "proj_1",
    "x_Model": "gpt-5.6-sol",
}
PROVIDER = {
    "1.0": {"ProviderName": "OpenAI", "PublisherName": "OpenAI"},
    "1.1": {"ProviderName": "OpenAI", "PublisherName": "OpenAI", "ServiceSubcategory": "Generative AI"},
    "1.2": {"ProviderName": "OpenAI", "PublisherName": "OpenAI", "InvoiceId": "INV-7", "PricingCurrency": "USD"},
    "1.3": {"ProviderName": "OpenAI", "ServiceProviderName": "OpenAI", "HostProviderName": ""},
    "1.4": {"ServiceProviderName": "OpenAI", "HostProviderName": "", "InvoiceDetailId": "INV-7-3"},
}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def csv(*rows: dict[str, str], name: str = "bill.csv", raw: str = "") -> Path:
        path = tmp_path / name
        with path.open("w", encoding="utf-8", newline="") as file:
            if raw:
                file.write(raw)
            else:
                writer = DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        return path

    return csv


def read(path: Path, **options: object) -> tuple[list[RowFate], Remarks]:
    remarks = Remarks()
    return list(fates([path], FormatOptions(**options), remarks)), remarks  # type: ignore[arg-type]


@pytest.mark.parametrize("version", PROVIDER)
def test_focus_of_every_version(write, version):
    """The provider's column moved between the versions; the line is the same."""
    found, _ = read(write({**BASE, **PROVIDER[version]}))
    (line,) = found[0].lines
    assert (line.provider, line.model, line.token_class) == ("openai", "gpt-5.6-sol", "input_uncached")
    assert (line.quantity, line.unit, line.slot) == (2_000_000, "tokens", "2026-11")
    assert line.money is not None
    assert (line.money.amount, line.money.currency) == (Decimal("1.5"), "USD")
    assert line.project == "proj_1"
    assert (line.is_final, line.source_id) == (
        True if version == "1.2" else None,
        "INV-7-3" if version == "1.4" else "",
    )


def test_focus_charges_that_are_no_usage(write):
    """Tax, credit, correction, a token pack and what it burns."""
    rows = [
        {**BASE, **PROVIDER["1.2"], "ChargeCategory": "Tax", "BilledCost": "0.3"},
        {**BASE, **PROVIDER["1.2"], "ChargeCategory": "Credit", "BilledCost": "-1"},
        {**BASE, **PROVIDER["1.2"], "ChargeClass": "Correction", "BilledCost": "-2E-3"},
        {**BASE, **PROVIDER["1.2"], "ChargeCategory": "Purchase", "BilledCost": "100", "EffectiveCost": "0"},
        {**BASE, **PROVIDER["1.2"], "BilledCost": "0", "EffectiveCost": "4", "PricingCurrency": "TOKENS"},
        {**BASE, **PROVIDER["1.2"], "ChargeCategory": "Levitation", "BilledCost": "5"},
    ]
    found, remarks = read(write(*rows))
    lines = [fate.lines[0] for fate in found]
    assert [line.charge.value for line in lines] == ["tax", "credit", "usage", "purchase", "usage", "usage"]
    assert [line.money.amount for line in lines] == [  # type: ignore[union-attr]
        Decimal("0.3"), -1, Decimal("-0.002"), 100, 0, 5,
    ]  # fmt: skip
    assert lines[2].dimensions["charge_class"] == "Correction"
    assert (lines[4].dimensions["effective_cost"], lines[4].dimensions["pricing_currency"]) == ("4", "TOKENS")
    assert remarks.counts == {"unknown_charge_category": 1}


def test_a_clouds_other_services_are_left_out_and_counted(write):
    """Of a whole cloud bill only model use is taken, unless asked for."""
    rows = [
        {**BASE, "ProviderName": "AWS", "ServiceName": "Amazon Bedrock", "x_UsageType": "USE1-NovaPro-input-tokens"},
        {**BASE, "ProviderName": "AWS", "ServiceName": "Amazon EC2", "x_UsageType": "BoxUsage"},
        {**BASE, "ProviderName": "Microsoft", "ServiceName": "Azure OpenAI", "x_UsageType": ""},
        {**BASE, "ProviderName": "Google Cloud", "ServiceName": "Gemini API", "x_UsageType": ""},
    ]
    path = write(*rows)
    found, _ = read(path)
    assert [fate.skipped for fate in found] == ["", "Amazon EC2 is no model use", "", ""]
    assert [fate.lines[0].provider for fate in found if fate.lines] == ["aws_bedrock", "azure_openai", "google"]
    assert len([fate for fate in read(path, all_services=True)[0] if fate.lines]) == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"BilledCost": ""}, "BilledCost is empty"),
        ({"BilledCost": "null"}, "BilledCost is empty"),
        ({"BilledCost": "12,5x"}, "is not a number"),
        ({"BillingCurrency": ""}, "without a currency"),
        ({"ChargePeriodStart": "yesterday"}, "not a time"),
        ({"ChargePeriodEnd": "2026-11-03T00:00:00Z"}, "not after"),
        ({"ProviderName": ""}, "give --provider"),
    ],
)
def test_a_bad_cell_is_named(write, change, words):
    """The row, the column, the value; the other rows are still read."""
    good = {**BASE, "ProviderName": "OpenAI"}
    bad = {**good, **change}
    for path in (write(good, bad), write(raw=f"{json.dumps(good)}\n{json.dumps(bad)}\n", name="bill.jsonl")):
        found, _ = read(path)
        assert (found[0].error, len(found[0].lines)) == ("", 1)
        assert words in found[1].error


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("", "is empty"),
        ("BilledCost,BilledCost,ChargePeriodStart\n1,2,3\n", "names BilledCost twice"),
        ("BilledCost,ChargePeriodStart\n1,2026-11-01\n", "has no column BillingCurrency"),
        ("a,b\n1,2\n", "not known from its columns"),
        ("date,amount\n2026-11-01\n", "cut off"),
        ('{"date": "2026-11-01"\n', "not JSON"),
    ],
)
def test_a_file_that_is_no_bill(write, raw, words):
    """One line that names the file and what is missing."""
    path = write(raw=raw) if raw else write(raw="\n")
    with pytest.raises(FileError, match=words) as caught:
        read(path, format="auto")
    assert "bill.csv" in str(caught.value)


def test_spreadsheets_byte_order_marks_and_compression(tmp_path):
    """BOM, semicolons, gzip, zstd: told by content."""
    text = "\ufeffdate;provider;amount;currency;token_class\n2026-11-03;openai;1.5;usd;output_text\n"
    (tmp_path / "plain.csv").write_text(text, encoding="utf-8")
    (tmp_path / "zipped.csv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "packed").write_bytes(zstandard.ZstdCompressor().compress(text.encode()))
    for path in tmp_path.iterdir():
        (fate,) = read(path)[0]
        assert fate.lines[0].money is not None
        assert (fate.lines[0].money.currency, fate.lines[0].start) == ("USD", datetime(2026, 11, 3, tzinfo=UTC)), path


def test_a_mapping_describes_any_csv(write):
    """Other words, cents, negative charges, wide token columns, another date format, rows to skip."""
    mapping = parse_mapping(
        """
        provider = "cohere"
        currency = "EUR"
        amount_unit = "cents"
        negate = true
        date_format = "%d/%m/%Y"
        token_unit = "1K tokens"
        [columns]
        date = "Day"
        model = "Model"
        amount = "Debit"
        [quantities]
        input_uncached = "In"
        output_text = "Out"
        [values.model]
        "Command R" = "command-r"
        [skip]
        "Status" = ["void"]
        [dimensions]
        region = "Where"
        """,
        "mine.toml",
    )
    assert mapping.column("model") == "Model"
    path = write(
        {
            "Day": "03/11/2026",
            "Model": "Command R",
            "Debit": "-125",
            "In": "2",
            "Out": "0.5",
            "Status": "ok",
            "Where": "eu",
        },
        {"Day": "04/11/2026", "Model": "Command R", "Debit": "-1", "In": "", "Out": "", "Status": "void", "Where": ""},
    )
    file = path.parent / "mine.toml"
    file.write_text(
        'provider = "cohere"\ncurrency = "EUR"\namount_unit = "cents"\nnegate = true\ndate_format = "%d/%m/%Y"\n'
        'token_unit = "1K tokens"\n[columns]\ndate = "Day"\nmodel = "Model"\namount = "Debit"\n[quantities]\n'
        'input_uncached = "In"\noutput_text = "Out"\n[values.model]\n"Command R" = "command-r"\n'
        '[skip]\n"Status" = ["void"]\n[dimensions]\nregion = "Where"\n'
    )
    found, _ = read(path, mapping=file)
    assert found[1].skipped == "Status is 'void'"
    money, tokens_in, tokens_out = found[0].lines
    assert money.money is not None
    assert (money.money.amount, money.money.currency, money.model) == (Decimal("1.25"), "EUR", "command-r")
    assert [(line.token_class, line.quantity) for line in (tokens_in, tokens_out)] == [
        ("input_uncached", 2000),
        ("output_text", 500),
    ]
    assert money.dimensions == {"region": "eu"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("provider = ", "not TOML"),
        ('[columns]\nfoo = "Bar"', "'foo' is none of"),
        ('amount_unit = "pence"', "dollars"),
        ('period = "year"', "hour, day, month"),
        ("nonsense = 1", "unknown key nonsense"),
        ("columns = 3", "table of texts"),
        ('values = "x"', "table of texts"),
        ('skip = "x"', "table of texts"),
        ('[skip]\nStatus = "void"', "list of texts"),
        ('negate = "no"', "without quotes"),
        ("currency = 1", "in quotes"),
        ('decimal = "·"', 'decimal is "." or ","'),
    ],
)
def test_a_wrong_mapping_is_named(text, words):
    """The file, the key, the mend."""
    with pytest.raises(ConfigError, match=words):
        parse_mapping(text, "mine.toml")


HEAD = "date;provider;model;amount;quantity;currency\n"


@pytest.mark.parametrize(
    ("decimal", "amount", "meant"),
    [
        ("", "1.5", "1.5"),
        ("", "1,5", "1.5"),
        ("", "0,125", "0.125"),
        ("", "1,234.56", "1234.56"),
        ("", "1.234,56", "1234.56"),
        ("", "1.234.567", "1234567"),
        ("", "1,234,567", "1234567"),
        ("", "-$1,234,567.5", "-1234567.5"),
        ("", "(3.50)", "-3.5"),
        ("", "1\u202f234,5 €", "1234.5"),
        ("", "1'234.5", "1234.5"),
        ("", "1.2E-7", "0.00000012"),
        (",", "1,234", "1.234"),
        (".", "1,234", "1234"),
        (",", "1.234", "1234"),
        ("", "1,234", "--decimal"),
        ("", "1,23,4", "not a number"),
        (".", "1,5", "not a number"),
        (",", "1.5", "decimal comma"),
        ("", "1e40", "too large"),
        ("", "12 apples", "not a number"),
    ],
)
def test_numbers_are_never_wrong_by_a_factor(write, decimal, amount, meant):
    """Separators of thousands and decimal signs of every country; what can be read in two ways is refused."""
    (fate,) = read(write(raw=f"{HEAD}2026-11-03;cohere;m;{amount};;EUR\n"), format="auto", decimal=decimal)[0]
    if meant.lstrip("-").replace(".", "").isdecimal():
        assert fate.lines[0].money is not None, fate.error
        assert fate.lines[0].money.amount == Decimal(meant)
    else:
        assert meant in fate.error


def test_a_file_writes_its_numbers_one_way(write):
    """A point as the decimal sign in one row and a comma in another: one of them would be a thousand times too much."""
    rows = "2026-11-03;cohere;m;1.125;;EUR\n2026-11-03;cohere;m;0,5;;EUR\n"
    found, _ = read(write(raw=HEAD + rows), format="auto")
    assert "another decimal sign than numbers before it" in found[1].error
    assert [fate.error for fate in read(write(raw=HEAD + rows), format="auto", decimal=",")[0]] == ["", ""]


def test_counts_have_no_fraction(write):
    """A comma before three digits separates thousands of tokens, but not of millions of tokens."""
    (fate,) = read(write(raw=f"{HEAD}2026-11-03;cohere;m;1;1,250;EUR\n"), format="auto")[0]
    assert fate.lines[0].quantity == 1250
    unit = HEAD.replace("quantity", "quantity;unit")
    (fate,) = read(write(raw=f"{unit}2026-11-03;cohere;m;1;1,250;1M tokens;EUR\n"), format="auto")[0]
    assert "quantity: '1,250' may be" in fate.error


@pytest.mark.parametrize(
    ("said", "start"),
    [
        ("1793664000", datetime(2026, 11, 3, tzinfo=UTC)),
        ("1793664000000", datetime(2026, 11, 3, tzinfo=UTC)),
        ("20261103", datetime(2026, 11, 3, tzinfo=UTC)),
        ("2026/11/03", datetime(2026, 11, 3, tzinfo=UTC)),
        ("99999999999999999999", None),
        ("03.11.2026", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31", None),
    ],
)
def test_odd_dates(write, said, start):
    """Seconds and milliseconds; what is no bill's day is one readable line."""
    (fate,) = read(write(raw=f"{HEAD}{said};cohere;m;1;;EUR\n"), format="auto")[0]
    if start is None:
        assert fate.error.startswith(f"date: '{said}' is no")
    else:
        assert fate.lines[0].start == start, fate.error


TEXT = "date;provider;amount;currency\n2026-11-03;openai;1.5;usd\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (("\ufeff" + TEXT).encode("utf-16-le"), ""),
        (("\ufeff" + TEXT).encode("utf-16-be"), ""),
        (gzip.compress(("\ufeff" + TEXT).encode("utf-16-le"), mtime=0), ""),
        (("sep=;\r\n" + TEXT).encode(), ""),
        (TEXT.replace("openai", "caf\u00e9").encode("latin-1"), "not UTF-8 or UTF-16"),
        (gzip.compress(TEXT.encode(), mtime=0)[:12], "ended before"),
        (b"PK\x03\x04rubbish", "not a zip"),
        (b"PAR1rubbish", "no whole Parquet file"),
        (b"%PDF-1.7\n\x80\x81", "is a PDF"),
        (b'[{"date": "2026-11-03"}]', "JSON array"),
    ],
)
def test_files_from_every_desk(tmp_path, content, words):
    """Spreadsheets' encodings are read; what is no bill is one line that names the file."""
    path = tmp_path / "bill.csv"
    path.write_bytes(content)
    if not words:
        assert read(path, format="auto")[0][0].lines[0].money is not None
        return
    with pytest.raises(FileError, match=words) as caught:
        read(path, format="auto")
    assert str(caught.value).startswith("bill.csv ")


def test_a_workbook_is_no_csv(tmp_path):
    """The mend is named."""
    with zipfile.ZipFile(tmp_path / "bill.xlsx", "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(FileError, match="spreadsheet; save its sheet as CSV"):
        read(tmp_path / "bill.xlsx", format="auto")


def test_the_same_file_twice_is_no_second_bill(tmp_path, rig):
    """Under another name: by hand, and in a folder that is watched."""
    for name in ("bill.csv", "bill (1).csv"):
        (tmp_path / name).write_text(TEXT)
    with pytest.raises(FileError, match=r"bill.csv and bill \(1\).csv are the same file"):
        list(fates([tmp_path / "bill (1).csv", tmp_path / "bill.csv"], FormatOptions(), Remarks()))
    made = rig(None, "file", settings={"path": str(tmp_path)}, hosts={"unused": Fake()})
    report = made.sync("2026-11-01", "2026-12-01")["file"]
    assert (report.state, "are the same file" in report.detail) == (State.DEGRADED, True)
    assert made.lines() == []
    (tmp_path / "bill (1).csv").unlink()
    assert made.sync("2026-11-01", "2026-12-01")["file"].state is State.OK
    assert made.total() == Decimal("1.5")


def test_every_preset_is_a_mapping_with_a_provider():
    """The presets that come with the product parse, and say who bills."""
    found = presets()
    assert set(found) == {"openai-costs", "anthropic-cost", "openrouter-activity"}
    assert all(mapping.provider for mapping in found.values())


def test_the_openai_export_is_told_by_its_columns(write):
    """start_time as Unix seconds; the flattened names of the costs API."""
    row = {
        "start_time": "1793664000", "end_time": "1793750400", "amount_value": "0.000004500000000000000000000000000000",
        "amount_currency": "usd", "line_item": "gpt-4o-mini, input", "project_id": "proj_1",
        "project_name": "Default", "organization_id": "org-1",
    }  # fmt: skip
    (fate,) = read(write(row))[0]
    assert fate.lines[0].money is not None
    assert (fate.lines[0].provider, fate.lines[0].money.amount) == ("openai", Decimal("0.0000045"))
    assert fate.lines[0].start == datetime(2026, 11, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "unit"),
    [
        ("Tokens", ("tokens", 1)),
        ("1000 Tokens", ("tokens", 1000)),
        ("1K tokens", ("tokens", 1000)),
        ("1,000,000 Tokens", ("tokens", 1_000_000)),
        ("1M", None),
        ("Minutes", ("seconds", 60)),
        ("Requests", ("requests", 1)),
        ("GB-Hours", None),
        ("Units", None),
        ("", None),
    ],
)
def test_units(said, unit):
    """Known units scale; unknown ones are kept as they are by the caller."""
    assert read_unit(said) == unit


def test_importing_replaces_the_month_and_nothing_else(bills_client, clock, org, write):
    """A corrected file replaces its month; another part stands beside it; a bad row changes nothing."""
    store = BillStore(bills_client, clock)

    def take(path: Path, part: str = ""):
        clock.advance(minutes=1)
        return import_files([path], FormatOptions(), store=store, clock=clock, org_id=org, connection="hand", part=part)

    def shown() -> list[tuple[object, ...]]:
        sql = (
            "SELECT toString(toDate(period_start)), amount, source_id LIKE 'file:%' FROM spanledger.bill_lines "
            "WHERE org_id = {org:String} ORDER BY ALL"
        )
        return [tuple(row) for row in bills_client.query(sql, parameters={"org": org}).result_rows]

    row = {"date": "2026-10-05", "provider": "cohere", "amount": "1", "currency": "USD"}
    report = take(write(row, {**row, "date": "2026-11-05", "amount": "2"}))
    assert (report.rows, report.lines, report.months, report.notes) == (
        2,
        2,
        ("2026-10", "2026-11"),
        {"unclassified": 2},
    )
    take(write({**row, "date": "2026-11-05", "amount": "3"}), part="audio")
    take(write({**row, "date": "2026-11-06", "amount": "2.5"}))
    bad = take(write({**row, "amount": "9"}, {**row, "amount": "x"}))
    assert [fate.number for fate in bad.errors] == [3]
    assert shown() == [
        ("2026-10-05", Decimal(1), True),
        ("2026-11-05", Decimal(3), True),
        ("2026-11-06", Decimal("2.5"), True),
    ]


def test_a_folder_as_a_connection(rig, write, tmp_path):
    """The files of a folder are read with every pull; a file that goes away takes its lines along."""
    path = write({"date": "2026-11-05", "provider": "cohere", "amount": "1", "currency": "USD"})
    made = rig(None, "file", settings={"path": str(tmp_path)}, hosts={"x": None})
    report = made.sync()["file"]
    assert (report.state.value, made.total()) == ("ok", 1)
    path.write_text("date,provider,amount,currency\n2026-11-05,cohere,1,USD\n2026-11-05,cohere,bad,USD\n")
    report = made.sync()["file"]
    assert (report.state.value, "row 3: amount: 'bad' is not a number" in report.detail) == ("degraded", True)
    assert made.total() == 1
    path.unlink()
    made.sync()
    assert made.lines() == []


def test_azure_cost_details(write):
    """Column names in any case, American dates, units that are only a number of tokens, other services left out."""
    base = {
        "Date": "11/03/2026", "MeterCategory": "Azure OpenAI", "MeterName": "gpt 4.1 Inp glbl Tokens",
        "Quantity": "2.5",
        "UnitOfMeasure": "1K", "CostInBillingCurrency": "0.0125", "BillingCurrencyCode": "EUR", "ChargeType": "Usage",
        "ResourceId": "/subscriptions/s/resourceGroups/r/providers/x/accounts/AOAI", "SubscriptionId": "s",
        "BillingPeriodStartDate": "11/01/2026",
    }  # fmt: skip
    path = write(
        base,
        {**base, "MeterCategory": "Storage"},
        {**base, "ChargeType": "Refund", "CostInBillingCurrency": "-1", "Date": "2026-12-02"},
        {**base, "MeterName": "Mystery", "UnitOfMeasure": "1 Hour"},
    )
    found, remarks = read(path)
    first, refund, mystery = (fate.lines[0] for fate in found if fate.lines)
    assert found[1].skipped == "Storage is no model use"
    assert (first.model, first.token_class, first.quantity, first.unit) == ("gpt-4.1", "input_uncached", 2500, "tokens")
    assert (first.start.date().isoformat(), first.slot, first.workspace) == ("2026-11-03", "2026-11", "aoai")
    assert (refund.charge.value, refund.token_class, refund.start.day) == ("credit", "", 2)
    assert (mystery.token_class, mystery.unit) == ("", "seconds")
    assert remarks.counts == {"unclassified": 1}
