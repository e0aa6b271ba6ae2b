"""FOCUS cost and usage rows, 1.0 to 1.4 (focus.finops.org), from clouds, gateways and tools.

``BilledCost`` is taken: it is what is invoiced, and its sum per billing period is the invoice. ``EffectiveCost`` is not
added to it. Names of the provider come from ``ServiceProviderName`` (since 1.3) or ``ProviderName`` (until 1.3). FOCUS
has no columns for model and token class: they are read from the SKU in the vendor's own words, as the connectors do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from spanledger.reconciler.bill_line import BillLine, Charge, Kind
from spanledger.reconciler.files.rows import Remarks, RowError, Skip, cell, dimensions, instant, money, month_of, number
from spanledger.reconciler.files.tables import Row
from spanledger.reconciler.files.units import scaled
from spanledger.reconciler.meters.azure import read_meter
from spanledger.reconciler.meters.bedrock import read_usage_type, service_model
from spanledger.reconciler.meters.google import read_sku
from spanledger.reconciler.units import Money

REQUIRED: Final = (
    "BilledCost",
    "BillingCurrency",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ServiceName",
)
"""Mandatory in every version, and needed here. The provider's column differs by version."""

PROVIDER_COLUMNS: Final = ("ServiceProviderName", "ProviderName", "PublisherName", "InvoiceIssuerName")

CHARGES: Final = {
    "usage": Charge.USAGE,
    "purchase": Charge.PURCHASE,
    "tax": Charge.TAX,
    "credit": Charge.CREDIT,
    "adjustment": Charge.ADJUSTMENT,
}

_PROVIDERS: Final = (
    ("amazon", "aws_bedrock"),
    ("aws", "aws_bedrock"),
    ("microsoft", "azure_openai"),
    ("azure", "azure_openai"),
    ("google", "google_vertex"),
    ("openai", "openai"),
    ("anthropic", "anthropic"),
    ("x.ai", "xai"),
    ("xai", "xai"),
    ("mistral", "mistral"),
    ("openrouter", "openrouter"),
)
"""Part of the provider's name in lower case → the ledger's word."""

_AI_CATEGORY: Final = "ai and machine learning"
_AI_SERVICES: Final = {
    "aws_bedrock": ("bedrock",),
    "azure_openai": ("openai", "foundry", "cognitive"),
    "google_vertex": ("vertex", "gemini", "generative"),
}
"""Clouds sell other things too: words in the service's name that mark model use."""

_METERS: Final = {
    "input tokens": "input_uncached",
    "output tokens": "output_text",
    "cache read tokens": "cache_read",
    "cached input tokens": "cache_read",
    "cache write tokens": "cache_write",
    "web searches": "web_searches",
    "requests": "requests",
}
"""``SkuMeter`` of open-source exporters → token class."""


@dataclass(frozen=True, slots=True)
class _Sku:
    model: str = ""
    token_class: str = ""
    service_tier: str = ""
    is_batch: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FocusReader:
    """Reads FOCUS rows.

    Attributes:
        provider: the ledger's word for whoever bills; ``""`` reads it from the row.
        all_services: keep rows of clouds that are no model use.
        meters: the user's own table of Azure's meters.
    """

    provider: str = ""
    all_services: bool = False
    meters: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])

    @property
    def required(self) -> tuple[str, ...]:
        return REQUIRED

    def read(self, row: Row, remarks: Remarks) -> Iterator[BillLine]:
        """See `RowReader.read`."""
        provider = self.provider or provider_of(row)
        service = cell(row, "ServiceName")
        if not self.all_services and not _is_model_use(provider, service, row):
            raise Skip(f"{service or 'a service without a name'} is no model use")
        said = cell(row, "ChargeCategory")
        charge = CHARGES.get(said.lower())
        if charge is None:
            remarks.note("unknown_charge_category")
            charge = Charge.USAGE
        start, end = instant(row, "ChargePeriodStart"), instant(row, "ChargePeriodEnd")
        if end <= start:
            raise RowError(f"ChargePeriodEnd {end:%Y-%m-%dT%H:%M:%SZ} is not after ChargePeriodStart")
        currency = cell(row, "BillingCurrency")
        billed = money(row, "BilledCost", currency)
        if billed is None:
            raise RowError("BilledCost is empty; FOCUS requires it")
        used, unit = _quantity(row)
        sku = _sku(provider, service, row, self.meters)
        if charge is Charge.USAGE and not sku.token_class:
            remarks.note("unclassified")
        yield BillLine(
            kind=Kind.COST,
            start=start,
            end=end,
            provider=provider,
            model=sku.model,
            token_class=sku.token_class,
            project=cell(row, "SubAccountId"),
            workspace=cell(row, "x_WorkspaceId", "x_Workspace"),
            api_key=cell(row, "x_ApiKeyId", "x_ApiKey", "CredentialId"),
            service_tier=sku.service_tier,
            is_batch=sku.is_batch,
            line_item=cell(row, "ChargeDescription", "SkuMeter", "SkuId", "ServiceName"),
            quantity=used,
            unit=unit,
            money=billed,
            list_money=money(row, "ListCost", currency) if cell(row, "ListCost") else None,
            charge=charge,
            is_final=bool(cell(row, "InvoiceId")) or None if "InvoiceId" in row else None,
            source_id=cell(row, "InvoiceDetailId"),
            slot=month_of(instant(row, "BillingPeriodStart")),
            dimensions=_dimensions(row, billed),
        )


def _dimensions(row: Row, billed: Money) -> dict[str, str]:
    found = dimensions(
        row,
        service="ServiceName",
        sku="SkuId",
        sku_price="SkuPriceId",
        region="RegionId",
        resource="ResourceId",
        charge_class="ChargeClass",
        charge_frequency="ChargeFrequency",
        invoice="InvoiceId",
        billing_account="BillingAccountId",
        pricing_currency="PricingCurrency",
        tags="Tags",
    )
    if not billed.amount and number(row, "EffectiveCost"):
        # Paid for by an earlier purchase (token packs, commitments): nothing is billed now, something is used up.
        found["effective_cost"] = cell(row, "EffectiveCost")
    return found


def provider_of(row: Row) -> str:
    """Who bills, in the ledger's words; a name that is in no table becomes a plain word. Raises `RowError`."""
    name = cell(row, *PROVIDER_COLUMNS)
    if not name:
        raise RowError("ServiceProviderName and ProviderName are empty: give --provider")
    lower = name.lower()
    for part, word in _PROVIDERS:
        if part in lower:
            if word == "google_vertex" and "gemini" in cell(row, "ServiceName").lower():
                return "google"
            return word
    return "_".join("".join(letter if letter.isalnum() else " " for letter in lower).split())


def _is_model_use(provider: str, service: str, row: Row) -> bool:
    words = _AI_SERVICES.get("google_vertex" if provider == "google" else provider)
    if words is None:
        return True
    where = " ".join((service, cell(row, "x_SkuMeterCategory"), cell(row, "ChargeDescription"))).lower()
    return any(word in where for word in words) or (
        provider == "aws_bedrock"
        and "bedrock edition" in where
        and _AI_CATEGORY in cell(row, "ServiceCategory").lower()
    )


def _quantity(row: Row) -> tuple[Decimal | None, str]:
    consumed = number(row, "ConsumedQuantity")
    if consumed is not None:
        return scaled(consumed, cell(row, "ConsumedUnit"))
    return scaled(number(row, "PricingQuantity"), cell(row, "PricingUnit"))


def _sku(provider: str, service: str, row: Row, meters: Mapping[str, tuple[str, str]]) -> _Sku:
    model = cell(row, "x_Model", "x_ModelName", "x_ModelId")
    own_class = cell(row, "x_TokenClass", "x_TokenType")
    meter = _METERS.get(cell(row, "SkuMeter").lower(), "")
    if provider == "aws_bedrock":
        usage = read_usage_type(cell(row, "x_UsageType", "x_SkuUsageType", "SkuMeter", "ChargeDescription"))
        return _Sku(
            model or usage.model or service_model(service),
            meter or usage.token_class,
            usage.service_tier,
            usage.is_batch,
        )
    if provider == "azure_openai":
        found = read_meter(cell(row, "x_SkuMeterName", "SkuMeter", "ChargeDescription"), meters)
        return _Sku(model or found.model, meter or found.token_class, found.service_tier, found.is_batch)
    if provider in ("google", "google_vertex"):
        sku = read_sku(cell(row, "x_SkuDescription", "ChargeDescription", "SkuMeter"))
        return _Sku(model or sku.model, meter or sku.token_class, sku.service_tier, sku.is_batch)
    return _Sku(model, own_class or meter, cell(row, "x_ServiceTier"))
