"""Spanledger's own span attribute names, where the GenAI conventions have none.

Our instrumentation writes the conventions' attributes wherever they exist and these beside them, so that dashboards of
others work and the ledger loses nothing. Token classes and costs are exact: ints and decimal strings.
"""

from __future__ import annotations

from typing import Final

SCOPE: Final = "spanledger.instrumentation"
"""Instrumentation scope of every span that we make; the SDK stands in ``spanledger.sdk``."""

SDK: Final = "spanledger.sdk"
SDK_VERSION: Final = "spanledger.sdk.version"

PROVIDER: Final = "spanledger.provider"
"""Who sends the invoice, in the ledger's words (``azure_openai``, ``aws_bedrock``, ...)."""

USAGE_PREFIX: Final = "spanledger.usage."
"""``spanledger.usage.<token class>`` (int), one per reported class of `spanledger.semconv.usage.TOKEN_CLASSES`."""
USAGE_COUNT_PREFIX: Final = "spanledger.usage.count."
"""``spanledger.usage.count.web_searches`` and the like (int)."""
USAGE_PARTIAL: Final = "spanledger.usage.partial"
USAGE_ESTIMATED: Final = "spanledger.usage.estimated"

COST: Final = "gen_ai.usage.cost"
"""US dollars as a double, for dashboards of others. The ledger reads `COST_TOTAL` instead."""
COST_TOTAL: Final = "spanledger.cost.total"
COST_LOW: Final = "spanledger.cost.low"
COST_HIGH: Final = "spanledger.cost.high"
COST_STATUS: Final = "spanledger.cost.status"
COST_REASON: Final = "spanledger.cost.reason"
COST_PRICE_ID: Final = "spanledger.cost.price_id"
COST_CLASS_PREFIX: Final = "spanledger.cost.class."
"""``spanledger.cost.class.<token class or count>``: that class's exact share, a decimal string."""

REQUEST_ID: Final = "spanledger.request_id"
SERVICE_TIER: Final = "spanledger.service_tier"
"""The tier that served the request."""
INFERENCE_GEO: Final = "spanledger.inference_geo"
"""Where inference ran, where the provider tells it (``us``, ``global``)."""
IS_BATCH: Final = "spanledger.is_batch"
BATCH_ID: Final = "spanledger.batch_id"
IS_STREAM: Final = "gen_ai.request.stream"
HTTP_STATUS: Final = "http.response.status_code"
HTTP_RESENDS: Final = "http.request.resend_count"
API_KEY_FINGERPRINT: Final = "spanledger.api_key_fingerprint"
ORGANIZATION: Final = "spanledger.organization"
PROJECT: Final = "spanledger.project"
WORKSPACE: Final = "spanledger.workspace"
NOTES: Final = "spanledger.notes"

TEAM_ID: Final = "spanledger.team_id"
FEATURE: Final = "spanledger.feature"
SESSION_ID: Final = "session.id"
USER_ID: Final = "user.id"
LABEL_PREFIX: Final = "spanledger.label."
"""``spanledger.label.<name>``: any further label. The same names serve as OTel baggage keys and resource attributes."""

TOOL_CALLS: Final = "spanledger.tool_calls"
"""JSON array of ``{name, id, kind, is_error, input_bytes, output_bytes}``; content only when content capture is on."""
