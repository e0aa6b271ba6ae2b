"""The API's description in OpenAPI 3.1, made from the same lists that the API checks against."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from spanledger.exporters.latest import FILTERS, MAX_CALLS
from spanledger.exporters.spend import BUCKETS, DIMENSIONS, MAX_ROWS

_TIME = "2026-11-01 (midnight UTC), 2026-11-01T12:00:00Z, or epoch seconds"
_AMOUNT = {"type": ["string", "null"], "description": "US dollars as a decimal text; null when unknown"}
_COUNT = {"type": "integer"}


def document() -> dict[str, Any]:
    """The whole description, JSON-ready."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Spanledger", "version": version("spanledger"), "description": "What LLM calls cost."},
        "security": [{"token": []}, {}],
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _object({"error": {"type": "string", "description": "one readable line"}})},
        },
        "paths": {
            "/api/v1/spend": {"get": _operation("Spend by any dimensions", _spend_parameters(), _spend_answer())},
            "/api/v1/calls": {"get": _operation("The latest calls", _calls_parameters(), _calls_answer())},
        },
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _parameter(name: str, description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema or {"type": "string"}}


def _span() -> list[dict[str, Any]]:
    return [
        _parameter("from", f"start, inclusive: {_TIME}"),
        _parameter("to", f"end, exclusive: {_TIME}; now if missing"),
    ]


def _spend_parameters() -> list[dict[str, Any]]:
    names = {"type": "array", "items": {"enum": [*DIMENSIONS, *BUCKETS]}}
    return [
        _parameter("by", "dimensions, comma-separated, and at most one of day, hour, minute", names)
        | {"style": "form", "explode": False},
        *_span(),
        _parameter("limit", "rows at most", {"type": "integer", "minimum": 1, "maximum": MAX_ROWS, "default": 1000}),
    ]


def _calls_parameters() -> list[dict[str, Any]]:
    return [
        *(_parameter(name, f"only calls of this {name.replace('_', ' ')}") for name in FILTERS),
        *_span(),
        _parameter("limit", "calls at most", {"type": "integer", "minimum": 1, "maximum": MAX_CALLS, "default": 100}),
        _parameter("cursor", "'next' of the page before"),
    ]


def _spend_answer() -> dict[str, Any]:
    row = _object(
        {
            "calls": _COUNT,
            "errors": _COUNT,
            "unpriced_calls": _COUNT,
            "input_tokens": _COUNT,
            "output_tokens": _COUNT,
            "cost_usd": _AMOUNT,
            "cost_low_usd": _AMOUNT,
            "cost_high_usd": _AMOUNT,
        }
    )
    return _object({"rows": {"type": "array", "items": row}, "total": row, "truncated": {"type": "boolean"}})


def _calls_answer() -> dict[str, Any]:
    return _object({"calls": {"type": "array", "items": {"type": "object"}}, "next": {"type": ["string", "null"]}})


def _operation(summary: str, parameters: list[dict[str, Any]], answer: dict[str, Any]) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "the answer", "content": {"application/json": {"schema": answer}}},
            "400": {"description": "a parameter cannot be used", "content": error},
            "401": {"description": "a token is missing or unknown", "content": error},
            "503": {"description": "the store does not answer; try again", "content": error},
        },
    }
