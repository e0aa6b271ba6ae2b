"""From rollups and residuals to FOCUS rows.

Booked spend becomes Usage rows at the grain day × provider × model × token class × project × team × feature. Where the
period was tied out with a bill, each residual becomes a row of its own, so that BilledCost sums to the invoice exactly:
what the spans did not see, rate differences, fees, credits, tax. Usage rows hold what the specification (v1.2, the
nullability of each column) asks of them: quantities, unit prices and a SKU; money without a quantity is an Adjustment.
"""

from __future__ import annotations

import calendar
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final, Protocol

from clickhouse_connect.driver.query import QueryResult

from spanledger.exporters.focus.closed import Kept, Line
from spanledger.exporters.readings import sql
from spanledger.semconv.money import CONTEXT, to_ledger
from spanledger.semconv.usage import TOKEN_CLASSES

Value = str | Decimal | None
Row = Mapping[str, Value]

ISSUERS: Final[Mapping[str, str]] = {
    "anthropic": "Anthropic",
    "aws_bedrock": "AWS",
    "azure_openai": "Microsoft",
    "cohere": "Cohere",
    "deepseek": "DeepSeek",
    "google": "Google Cloud",
    "google_vertex": "Google Cloud",
    "groq": "Groq",
    "mistral": "Mistral AI",
    "openai": "OpenAI",
    "openrouter": "OpenRouter",
    "xai": "xAI",
}
"""Display names of who sends the invoice; others keep the ledger's word."""

_CATEGORIES: Final[Mapping[str, str]] = {"tax": "Tax", "credits_and_discounts": "Credit"}
_UNSEEN_USAGE: Final = frozenset({"missing_telemetry", "tool_fees", "unmatched_line"})
"""Residuals that are usage of their own where the bill says how much; a FOCUS Usage row must have a quantity."""
_MILLION: Final = Decimal(1_000_000)


class Reader(Protocol):
    """What the export needs of the store: one read-only statement with parameters."""

    def __call__(self, statement: str, parameters: Mapping[str, Any]) -> QueryResult: ...


@dataclass(frozen=True, slots=True)
class FocusPeriod:
    """Days ``[start, end)`` (UTC), and the name under which the period was tied out."""

    start: date
    end: date
    name: str


def focus_rows(read: Reader, *, org_id: str, period: FocusPeriod) -> Iterator[Row]:
    """Every row of the period, in the newest version's columns; values are exact."""
    kept = _kept(read, org_id, period)
    provisional = "true" if kept is None else "false"
    for row in _named(
        read(
            sql("focus_usage"),
            {"org": org_id, "since": period.start.isoformat(), "until": period.end.isoformat()},
        )
    ):
        if kept is not None:
            kept.count_booked(row)
        yield _usage(org_id, row, provisional)
    for row in _named(read(sql("focus_residuals"), {"org": org_id, "period": period.name})):
        if kept is not None:
            kept.count_residual(row)
        yield _residual(org_id, row, provisional)
    for line in kept.lines() if kept is not None else ():
        yield _stated(org_id, line, period)


def _named(result: QueryResult) -> Iterator[Mapping[str, Any]]:
    rows: Sequence[Sequence[Any]] = result.result_rows
    for row in rows:
        yield dict(zip(result.column_names, row, strict=True))


def _kept(read: Reader, org_id: str, period: FocusPeriod) -> Kept | None:
    """The period's statement while it is closed."""
    rows: Sequence[Sequence[Any]] = read(sql("focus_closed"), {"org": org_id, "period": period.name}).result_rows
    return Kept(rows[0][1], period.end - timedelta(days=1)) if rows and rows[0][0] else None


def _common(org_id: str, row: Mapping[str, Any], provisional: str) -> dict[str, Value]:
    issuer = ISSUERS.get(row["provider"], row["provider"]) or "unknown"
    day: date = row["day"]
    month = day.replace(day=1)
    account = row["project"] or row["workspace"] or None
    return {
        "BillingAccountId": org_id,
        "BillingAccountName": org_id,
        "BillingAccountType": "Organization",
        "BillingCurrency": "USD",
        "BillingPeriodEnd": _instant(month + timedelta(days=calendar.monthrange(month.year, month.month)[1])),
        "BillingPeriodStart": _instant(month),
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": _instant(day + timedelta(days=1)),
        "ChargePeriodStart": _instant(day),
        "HostProviderName": issuer,
        "InvoiceIssuerName": issuer,
        "PricingCurrency": "USD",
        "ProviderName": issuer,
        "PublisherName": issuer,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": f"{issuer} API",
        "ServiceProviderName": issuer,
        "ServiceSubcategory": "Generative AI",
        "SubAccountId": account,
        "SubAccountName": account,
        "SubAccountType": None if account is None else ("Project" if row["project"] else "Workspace"),
        "x_Model": row["model"] or None,
        "x_TokenClass": row["class"] or None,
        "x_Provisional": provisional,
    }


def _money(amount: Decimal) -> dict[str, Value]:
    return dict.fromkeys(
        ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost", "PricingCurrencyEffectiveCost"), amount
    )


def _usage(org_id: str, row: Mapping[str, Any], provisional: str) -> Row:
    quantity = Decimal(row["quantity"])
    cost: Decimal = row["cost"]
    tags = {"team": row["team_id"], "feature": row["feature"], "service_tier": row["service_tier"]}
    tags |= {"batch": "true"} if row["is_batch"] else {}
    focus = _common(org_id, row, provisional) | _money(cost)
    focus |= _quantities(row, quantity, None if row["cost_status"] == "unpriced" else cost)
    focus |= {
        "ChargeCategory": "Usage",
        "ChargeDescription": f"{row['model'] or 'unknown model'}, {row['class'] or 'whole call'}",
        "Tags": _tags(tags),
        "x_Team": row["team_id"] or None,
        "x_Feature": row["feature"] or None,
        "x_CostStatus": row["cost_status"],
    }
    return focus


def _quantities(row: Mapping[str, Any], quantity: Decimal, cost: Decimal | None) -> dict[str, Value]:
    """How much was used, of what, at which price; ``cost`` is ``None`` where nobody knows the price."""
    tokens = row["class"] in TOKEN_CLASSES
    priced = quantity / _MILLION if tokens else quantity
    sku = f"{row['provider']}/{row['model']}/{row['class'] or 'call'}"
    unit_price = None if cost is None else to_ledger(CONTEXT.divide(cost, priced))
    return {
        "ConsumedQuantity": quantity,
        "ConsumedUnit": "Tokens" if tokens else "Requests",
        "ContractedUnitPrice": unit_price,
        "ListUnitPrice": unit_price,
        "PricingCategory": "Standard",
        "PricingQuantity": priced,
        "PricingUnit": "1000000 Tokens" if tokens else "Requests",
        "SkuId": sku,
        "SkuMeter": _meter(row["class"]),
        "SkuPriceId": sku,
    }


def _residual(org_id: str, row: Mapping[str, Any], provisional: str) -> Row:
    name: str = row["residual"]
    words = name.replace("_", " ")
    amount: Decimal = row["amount"]
    quantity: Decimal | None = row["quantity"]
    focus = _common(org_id, row, provisional) | _money(amount)
    category = _CATEGORIES.get(name, "Adjustment")
    if name in _UNSEEN_USAGE and quantity and quantity > 0 and amount >= 0:
        category = "Usage"
        focus |= _quantities(row, quantity, amount)
    return focus | {
        "ChargeCategory": category,
        "ChargeDescription": f"{words} ({row['connection']}){': ' + row['cause'] if row['cause'] else ''}",
        "Tags": "{}",
        "x_Residual": name,
    }


def _stated(org_id: str, line: Line, period: FocusPeriod) -> Row:
    place = {"provider": line.provider, "day": line.day, "model": line.model}
    focus = _common(org_id, place | {"project": "", "workspace": "", "class": ""}, "false") | _money(line.amount)
    # A correction is billed with this period, whenever its usage was.
    billed = _common(org_id, place | {"day": period.start, "project": "", "workspace": "", "class": ""}, "false")
    words = line.residual.replace("_", " ") or "booked"
    return focus | {
        "BillingPeriodStart": billed["BillingPeriodStart"],
        "BillingPeriodEnd": billed["BillingPeriodEnd"],
        "ChargeCategory": _CATEGORIES.get(line.residual, "Adjustment"),
        "ChargeClass": "Correction" if line.is_correction else None,
        "ChargeDescription": f"{words}{f' ({line.connection})' if line.connection else ''}: {line.cause}",
        "Tags": _tags({"team": line.team, "feature": line.feature}),
        "x_Team": line.team or None,
        "x_Feature": line.feature or None,
        "x_Residual": line.residual or None,
    }


def _tags(tags: Mapping[str, str]) -> str:
    return json.dumps({name: value for name, value in tags.items() if value}, sort_keys=True)


def _meter(token_class: str) -> str:
    if not token_class:
        return "Calls"
    return f"{token_class.replace('_', ' ').title()}{' Tokens' if token_class in TOKEN_CLASSES else ''}"


def _instant(day: date) -> str:
    return f"{day.isoformat()}T00:00:00Z"
