"""The columns that we write, by version of the specification.

Source: FinOps-Open-Cost-and-Usage-Spec/FOCUS_Spec, v1.2 (columns/*.md). 1.3 deprecates ProviderName and PublisherName
in favour of ServiceProviderName and HostProviderName; 1.4 removes them. Columns of our own start with ``x_``, as the
specification asks.
"""

from __future__ import annotations

from typing import Final

VERSIONS: Final = ("1.0", "1.2", "1.4")

_SINCE: Final[tuple[tuple[str, str], ...]] = (
    ("BilledCost", "1.0"),
    ("BillingAccountId", "1.0"),
    ("BillingAccountName", "1.0"),
    ("BillingAccountType", "1.2"),
    ("BillingCurrency", "1.0"),
    ("BillingPeriodEnd", "1.0"),
    ("BillingPeriodStart", "1.0"),
    ("ChargeCategory", "1.0"),
    ("ChargeClass", "1.0"),
    ("ChargeDescription", "1.0"),
    ("ChargeFrequency", "1.0"),
    ("ChargePeriodEnd", "1.0"),
    ("ChargePeriodStart", "1.0"),
    ("ConsumedQuantity", "1.0"),
    ("ConsumedUnit", "1.0"),
    ("ContractedCost", "1.0"),
    ("ContractedUnitPrice", "1.0"),
    ("EffectiveCost", "1.0"),
    ("HostProviderName", "1.4"),
    ("InvoiceIssuerName", "1.0"),
    ("ListCost", "1.0"),
    ("ListUnitPrice", "1.0"),
    ("PricingCategory", "1.0"),
    ("PricingCurrency", "1.2"),
    ("PricingCurrencyEffectiveCost", "1.2"),
    ("PricingQuantity", "1.0"),
    ("PricingUnit", "1.0"),
    ("ProviderName", "1.0"),
    ("PublisherName", "1.0"),
    ("RegionId", "1.0"),
    ("RegionName", "1.0"),
    ("ResourceId", "1.0"),
    ("ResourceName", "1.0"),
    ("ResourceType", "1.0"),
    ("ServiceCategory", "1.0"),
    ("ServiceName", "1.0"),
    ("ServiceProviderName", "1.4"),
    ("ServiceSubcategory", "1.2"),
    ("SkuId", "1.0"),
    ("SkuMeter", "1.2"),
    ("SkuPriceId", "1.0"),
    ("SubAccountId", "1.0"),
    ("SubAccountName", "1.0"),
    ("SubAccountType", "1.2"),
    ("Tags", "1.0"),
    ("x_Model", "1.0"),
    ("x_TokenClass", "1.0"),
    ("x_Team", "1.0"),
    ("x_Feature", "1.0"),
    ("x_CostStatus", "1.0"),
    ("x_Residual", "1.0"),
    ("x_Provisional", "1.0"),
)

_GONE: Final = {"ProviderName": "1.4", "PublisherName": "1.4"}

_REQUIRED_OF_1_0: Final = (
    "AvailabilityZone",
    "CommitmentDiscountCategory",
    "CommitmentDiscountId",
    "CommitmentDiscountName",
    "CommitmentDiscountStatus",
    "CommitmentDiscountType",
)
"""Columns that stay NULL here, but that a 1.0 file must have."""

DECIMALS: Final = frozenset(
    {
        "BilledCost",
        "ConsumedQuantity",
        "ContractedCost",
        "ContractedUnitPrice",
        "EffectiveCost",
        "ListCost",
        "ListUnitPrice",
        "PricingCurrencyEffectiveCost",
        "PricingQuantity",
    }
)


def columns(version: str) -> tuple[str, ...]:
    """The columns of one version, in the order of the file."""
    kept = [name for name, since in _SINCE if since <= version and version < _GONE.get(name, "9")]
    return tuple(sorted([*kept, *_REQUIRED_OF_1_0], key=_order)) if version == "1.0" else tuple(kept)


def _order(name: str) -> tuple[bool, str]:
    return name.startswith("x_"), name
