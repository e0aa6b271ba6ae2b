"""Azure cost detail rows (export types ActualCost, AmortizedCost and Usage), the model meters of them.

Column names differ by agreement only in their case; they are read without regard to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from spanledger.reconciler.bill_line import BillLine, Charge, Kind
from spanledger.reconciler.files.rows import Remarks, RowError, Skip, cell, dimensions, instant, money, month_of, number
from spanledger.reconciler.files.tables import Row
from spanledger.reconciler.files.units import scaled
from spanledger.reconciler.meters.azure import read_meter

REQUIRED: Final = ("metercategory", "metername", "date", "quantity")
CATEGORIES: Final = ("cognitive services", "azure openai", "foundry models", "foundry", "azure ai")
"""``meterCategory`` (the beginning, lower case) of model use."""

_CHARGES: Final = {
    "usage": Charge.USAGE,
    "purchase": Charge.PURCHASE,
    "refund": Charge.CREDIT,
    "tax": Charge.TAX,
    "roundingadjustment": Charge.ADJUSTMENT,
}
_DATE_FORMATS: Final = ("%m/%d/%Y", "%Y-%m-%d", "%Y%m%d")


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureDetailsReader:
    """Reads cost detail rows; ``meters`` is the user's own meter table (see `read_meter`)."""

    provider: str = "azure_openai"
    meters: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])

    @property
    def required(self) -> tuple[str, ...]:
        return REQUIRED

    def read(self, row: Row, remarks: Remarks) -> Iterator[BillLine]:
        """See `RowReader.read`."""
        row = {name.lower(): value for name, value in row.items()}
        category = cell(row, "metercategory")
        if not category.lower().startswith(CATEGORIES):
            raise Skip(f"{category or 'no meter category'} is no model use")
        start = _day(row)
        name = cell(row, "metername")
        meter = read_meter(name, self.meters)
        charge = _CHARGES.get(cell(row, "chargetype").lower() or "usage")
        if charge is None:
            remarks.note("unknown_charge_type")
            charge = Charge.USAGE
        if charge is Charge.USAGE and not meter.token_class:
            remarks.note("unclassified")
        said_unit = cell(row, "unitofmeasure")
        used, unit = scaled(number(row, "quantity"), said_unit)
        if meter.token_class and used is not None and unit == said_unit:
            # "1K" and "1M" without a word: of tokens, since the meter counts tokens.
            used, unit = scaled(number(row, "quantity"), f"{said_unit} tokens")
        currency = cell(row, "billingcurrency", "billingcurrencycode", "currency")
        column = next((name for name in ("costinbillingcurrency", "cost", "pretaxcost") if cell(row, name)), "cost")
        billed = money(row, column, currency)
        if billed is None:
            raise RowError("costInBillingCurrency (or cost) is empty")
        period = cell(row, "billingperiodstartdate")
        yield BillLine(
            kind=Kind.COST,
            start=start,
            end=start + timedelta(days=1),
            provider=self.provider,
            model=meter.model,
            token_class=meter.token_class if charge is Charge.USAGE else "",
            project=cell(row, "subscriptionid"),
            workspace=cell(row, "resourceid", "instanceid").rpartition("/")[2].lower(),
            service_tier=meter.service_tier,
            is_batch=meter.is_batch,
            line_item=name,
            quantity=used,
            unit=unit,
            money=billed,
            charge=charge,
            slot=month_of(_date({"date": period}) if period else start),
            dimensions={
                **dimensions(
                    row,
                    meter_id="meterid",
                    meter_category="metercategory",
                    location="resourcelocation",
                    resource_group="resourcegroup",
                    invoice="invoiceid",
                    tags="tags",
                ),
                **({"deployment": meter.deployment} if meter.deployment else {}),
            },
        )


def _day(row: Row) -> datetime:
    return _date(row).replace(hour=0, minute=0, second=0, microsecond=0)


def _date(row: Row) -> datetime:
    said = cell(row, "date", "usagedatetime")
    for form in _DATE_FORMATS:
        try:
            return datetime.strptime(said[:10], form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return instant(row, "date", "usagedatetime")
