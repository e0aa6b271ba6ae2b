"""``spanledger explain``: which evidence stands behind a call, which of it won, and which field comes from where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final

import typer

from spanledger.cli import options, output
from spanledger.cli.errors import UserError
from spanledger.cli.sql import load
from spanledger.semconv import money

_FIELDS: Final = (
    "provider", "operation", "request_model", "response_model", "response_id", "input_tokens", "input_uncached_tokens",
    "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens", "reasoning_tokens",
    "stop_reason", "service_tier", "session_id", "user_id", "team_id", "feature", "project", "workspace",
    "server_address",
)  # fmt: skip


def explain(
    call_id: Annotated[
        str,
        typer.Argument(
            help="A call's id or its beginning, the provider's id of the answer or the request, a trace or span id."
        ),
    ],
    org: options.Org = options.DEFAULT_ORG,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
    as_json: options.Json = False,
) -> None:
    """Show a call's witnesses, why they are one call, and where each of its fields comes from.

    What a witness would have cost had it been counted too stands beside it. The price itself: `prices explain`.
    """
    from spanledger.cli import access
    from spanledger.ledger.writing import id_by_request

    with access.client(data, clickhouse) as client, access.readable_errors():
        named = {"org": org, "call": call_id, "by_request": id_by_request(org, call_id)}
        call = _one(_rows(client, "explain_call", named) if call_id else [], call_id, org)
        witnesses = _rows(
            client,
            "explain_witnesses",
            {
                "org": org,
                "call": call["call_id"],
                "alone": call["witness_count"] < 2,
                "trace": call["trace_id"],
                "span": call["span_id"],
                "response": call["response_id"],
                "started_ms": int(call["started_at"].timestamp() * 1000),
            },
        )
    fields = [_field(name, call[name], witnesses) for name in _FIELDS if call[name] not in (None, "")]
    if as_json:
        output.print_json({"call": call, "witnesses": witnesses, "fields": fields})
        return
    cost = "no cost" if call["cost_usd"] is None else f"${money.text(call['cost_usd'])}"
    output.say(
        f"{call['call_id']}: {call['status']}, {cost} ({call['cost_status']}), {call['witness_count']} witnesses"
    )
    columns = ("role", "because", "emitter", "scope", "service", "trace", "span", "would have cost")
    output.print_table(
        columns,
        [
            (
                w["role"], w["reason"], w["dialect"], w["scope_name"], w["service_name"], w["trace_id"], w["span_id"],
                w["would_be_cost_usd"],
            )
            for w in witnesses
        ],
    )  # fmt: skip
    output.print_table(
        ("field", "value", "said by", "others say"),
        [(f["field"], str(f["value"]), ", ".join(f["said_by"]), ", ".join(f["others_say"])) for f in fields],
    )
    suppressed = [w["would_be_cost_usd"] for w in witnesses if w["role"] != "winner" and w["would_be_cost_usd"]]
    if suppressed:
        output.say(f"Counted once; ${money.text(sum(suppressed, Decimal(0)))} would have been counted twice.")


def _one(calls: Sequence[dict[str, Any]], asked: str, org: str) -> dict[str, Any]:
    """The call that was asked for: the one found, or the only one whose whole id or answer's id it is."""
    exact = [call for call in calls if asked in (call["call_id"], call["response_id"])] or list(calls)
    if len(exact) == 1:
        return exact[0]
    if not exact:
        raise UserError(
            f"org {org} has no call {asked!r}: neither a call's id (or its beginning) nor the provider's id of an "
            "answer or request, a trace or a span"
        )
    ids = ", ".join(call["call_id"] for call in exact)
    raise UserError(f"{asked!r} may be any of these calls: {ids}; give one of them")


def _field(name: str, value: object, witnesses: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    agreeing = [w["dialect"] for w in witnesses if w[name] == value]
    others = [f"{w['dialect']}: {w[name]}" for w in witnesses if w[name] not in (None, "", value)]
    # What no witness says literally was derived (the host decides who bills, a split is completed to its total).
    return {"field": name, "value": value, "said_by": agreeing or ["derived"], "others_say": others}


def _rows(client: Any, name: str, parameters: Mapping[str, object]) -> list[dict[str, Any]]:
    result = client.query(load(name), parameters=dict(parameters))
    return [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]
