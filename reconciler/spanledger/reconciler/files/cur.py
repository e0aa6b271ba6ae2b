"""AWS Cost and Usage Report 2.0 rows (Data Exports, table COST_AND_USAGE_REPORT), Bedrock's part of them.

A row is final when ``bill_invoice_id`` is filled. ``identity_line_item_id`` is unique within one version of a file
only, so it is no key. Costs are unblended; the blended ones do not reconcile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from spanledger.reconciler.bill_line import BillLine, Charge, Kind
from spanledger.reconciler.documents import load, maybe_obj, text
from spanledger.reconciler.files.rows import Remarks, Skip, cell, dimensions, instant, money, month_of, number
from spanledger.reconciler.files.tables import Row
from spanledger.reconciler.files.units import scaled
from spanledger.reconciler.meters.bedrock import read_usage_type, service_model

REQUIRED: Final = (
    "line_item_line_item_type",
    "line_item_product_code",
    "line_item_usage_start_date",
    "line_item_usage_end_date",
    "line_item_unblended_cost",
    "line_item_currency_code",
    "bill_billing_period_start_date",
)

CHARGES: Final = {
    "Usage": Charge.USAGE,
    "DiscountedUsage": Charge.USAGE,
    "SavingsPlanCoveredUsage": Charge.USAGE,
    "Tax": Charge.TAX,
    "Credit": Charge.CREDIT,
    "Refund": Charge.CREDIT,
    "BundledDiscount": Charge.CREDIT,
    "EdpDiscount": Charge.CREDIT,
    "PrivateRateDiscount": Charge.CREDIT,
    "SppDiscount": Charge.CREDIT,
    "SavingsPlanNegation": Charge.CREDIT,
    "Fee": Charge.PURCHASE,
    "RIFee": Charge.PURCHASE,
    "SavingsPlanUpfrontFee": Charge.PURCHASE,
    "SavingsPlanRecurringFee": Charge.PURCHASE,
}
"""``line_item_line_item_type`` → charge."""

_BEDROCK: Final = (
    "line_item_product_code",
    "product",
    "product_product_name",
    "line_item_line_item_description",
    "line_item_usage_type",
    "product_servicecode",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurReader:
    """Reads Bedrock's rows of a CUR 2.0 export."""

    provider: str = "aws_bedrock"

    @property
    def required(self) -> tuple[str, ...]:
        return REQUIRED

    def read(self, row: Row, remarks: Remarks) -> Iterator[BillLine]:
        """See `RowReader.read`."""
        if not any("bedrock" in row.get(column, "").lower() for column in _BEDROCK):
            raise Skip(f"{row['line_item_product_code'] or 'no product'} is not Bedrock")
        said = cell(row, "line_item_line_item_type")
        charge = CHARGES.get(said)
        if charge is None:
            remarks.note("unknown_line_item_type")
            charge = Charge.USAGE
        usage = read_usage_type(cell(row, "line_item_usage_type"))
        if charge is Charge.USAGE and not usage.token_class:
            remarks.note("unclassified")
        used, unit = scaled(number(row, "line_item_usage_amount"), cell(row, "pricing_unit"))
        invoice = cell(row, "bill_invoice_id")
        yield BillLine(
            kind=Kind.COST,
            start=instant(row, "line_item_usage_start_date"),
            end=instant(row, "line_item_usage_end_date"),
            provider=self.provider,
            model=usage.model or service_model(_product_name(row)),
            token_class=usage.token_class if charge is Charge.USAGE else "",
            project=cell(row, "line_item_usage_account_id"),
            api_key=cell(row, "line_item_iam_principal"),
            service_tier=usage.service_tier,
            is_batch=usage.is_batch,
            line_item=cell(row, "line_item_usage_type") or cell(row, "line_item_line_item_description"),
            quantity=used if charge is Charge.USAGE else None,
            unit=unit if charge is Charge.USAGE else "",
            money=money(row, "line_item_unblended_cost", cell(row, "line_item_currency_code")),
            charge=charge,
            is_final=bool(invoice),
            slot=month_of(instant(row, "bill_billing_period_start_date")),
            dimensions={
                **dimensions(
                    row,
                    operation="line_item_operation",
                    resource="line_item_resource_id",
                    product="line_item_product_code",
                    tags="resource_tags",
                ),
                "line_item_type": said,
                **({"invoice": invoice} if invoice else {}),
                **({"region": usage.region} if usage.region else {}),
                **({"scope": usage.scope} if usage.scope else {}),
            },
        )


def _product_name(row: Row) -> str:
    """CUR 2.0 holds the product's attributes as one map, ``product``; older reports in columns of their own."""
    try:
        named = maybe_obj(load(cell(row, "product") or "{}"))
    except ValueError:
        named = {}
    return cell(row, "product_product_name") or text(named.get("product_name"))
