"""What the fake provider's organisation APIs report of its books: OpenAI's usage and costs, Anthropic's analytics.

The reports group the books by UTC day, as the real ones do, and name classes in the providers' own words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from spanledger.cli.demo import anthropic_wire, openai_wire
from spanledger.cli.demo.books import BilledCall, Books

ADMIN: Final = "admin"
"""Admin keys contain this word; others are refused with 401."""

OPENAI_LINES: Final[Mapping[str, str]] = {
    "input_uncached": "input",
    "cache_read": "cached input",
    "output_text": "output",
    "reasoning": "output",
}
"""Token class → what OpenAI's cost line items call it."""

ANTHROPIC_TYPES: Final[Mapping[str, str]] = {
    "input_uncached": "uncached_input_tokens",
    "cache_read": "cache_read_input_tokens",
    "cache_write_5m": "cache_creation.ephemeral_5m_input_tokens",
    "cache_write_1h": "cache_creation.ephemeral_1h_input_tokens",
    "output_text": "output_tokens",
}
"""Token class → ``token_type``."""

Row = dict[str, Any]
Answer = tuple[int, Row, dict[str, str]]


def answer(books: Books, target: str, key: str) -> Answer:
    """Status, body and headers of a GET on an organisation API.

    Args:
        books: what was billed.
        target: path and query.
        key: the key that the caller showed.
    """
    parts = urlsplit(target)
    query = parse_qs(parts.query)
    openai = not parts.path.startswith("/v1/organizations")
    error = openai_wire.error if openai else anthropic_wire.error
    if ADMIN not in key:
        return 401, error(401), {}
    days = _days(query, "start_time", "end_time") if openai else _days(query, "starting_at", "ending_at")
    routes: dict[str, Callable[[], Row]] = {
        "/v1/organization/projects": lambda: _list([]),
        "/v1/organization/costs": lambda: _openai_page(days, lambda day: _openai_costs(books, day)),
        "/v1/organizations/me": lambda: {"id": "org_fake", "type": "organization", "name": "Demo"},
        "/v1/organizations/api_keys": lambda: _list([]),
        "/v1/organizations/workspaces": lambda: _list([]),
        "/v1/organizations/analytics/cost": lambda: _anthropic_page(days, lambda day: _anthropic_costs(books, day)),
        "/v1/organizations/analytics/usage": lambda: _anthropic_page(days, lambda day: _anthropic_usage(books, day)),
    }
    usage = "/v1/organization/usage/"
    if parts.path.startswith(usage):
        report = parts.path.removeprefix(usage)
        return 200, _openai_page(days, lambda day: _openai_usage(books, report, day)), {}
    route = routes.get(parts.path)
    if route is None:
        return 404, error(404), {}
    return 200, route(), {"openai-organization": "org-demo"} if openai else {}


def _list(data: Sequence[Row]) -> Row:
    return {"object": "list", "data": data, "first_id": None, "last_id": None, "has_more": False}


def _days(query: Mapping[str, Sequence[str]], first: str, last: str) -> list[date]:
    def day(text: str) -> date:
        return datetime.fromtimestamp(int(text), UTC).date() if text.isdecimal() else date.fromisoformat(text[:10])

    if first not in query:
        return []
    start = day(query[first][0])
    end = day(query[last][0]) if last in query else datetime.now(UTC).date() + timedelta(days=1)
    return [start + timedelta(days=number) for number in range((end - start).days)]


def _of_day(books: Books, provider: str, day: date) -> Iterator[BilledCall]:
    for call in books.calls:
        if call.provider == provider and _day(call.at_ns) == day:
            yield call


def _day(at_ns: int) -> date:
    return datetime.fromtimestamp(at_ns // 10**9, UTC).date()


def _sums(rows: Iterable[tuple[Any, str, Decimal]]) -> dict[Any, dict[str, Decimal]]:
    """Sums of (group, name, amount)."""
    found: dict[Any, dict[str, Decimal]] = {}
    for group, name, amount in rows:
        entry = found.setdefault(group, {})
        entry[name] = entry.get(name, Decimal(0)) + amount
    return found


def _openai_page(days: Sequence[date], results: Callable[[date], list[Row]]) -> Row:
    data: list[Row] = []
    for day in days:
        start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
        data.append({"object": "bucket", "start_time": start, "end_time": start + 86_400, "results": results(day)})
    return {"object": "page", "data": data, "has_more": False, "next_page": None}


def _openai_costs(books: Books, day: date) -> list[Row]:
    lines: dict[str, tuple[Decimal, int]] = {}
    for call in _of_day(books, "openai", day):
        tier = f"{call.service_tier} | " if call.service_tier in ("flex", "priority") else ""
        for name, amount in call.parts.items():
            searched = name == "web_searches"
            item = "web search tool calls" if searched else f"{tier}{call.model}, {OPENAI_LINES[name]}"
            before, count = lines.get(item, (Decimal(0), 0))
            used = call.web_searches if searched else call.tokens[name]
            lines[item] = (before + amount, count + used)
    for credit in books.credits:
        if credit.provider == "openai" and _day(credit.at_ns) == day:
            lines[credit.what] = (credit.amount, 0)
    return [
        {
            "object": "organization.costs.result",
            "amount": {"value": format(amount, "f"), "currency": "usd"},
            "line_item": item,
            "project_id": None,
            "api_key_id": None,
            "organization_id": "org-demo",
            "quantity": count or None,
        }
        for item, (amount, count) in sorted(lines.items())
        if amount or count
    ]


def _openai_usage(books: Books, report: str, day: date) -> list[Row]:
    operations = {"completions": ("chat", "responses"), "embeddings": ("embeddings",)}.get(report, ())
    calls = [call for call in _of_day(books, "openai", day) if call.operation in operations]
    sums = _sums(
        ((call.model, call.service_tier), name, Decimal(count)) for call in calls for name, count in call.tokens.items()
    )
    rows: list[Row] = []
    for (model, tier), tokens in sorted(sums.items()):
        row: Row = {
            "object": f"organization.usage.{report}.result",
            "model": model,
            "project_id": None,
            "api_key_id": None,
            "num_model_requests": sum(1 for call in calls if (call.model, call.service_tier) == (model, tier)),
            "input_tokens": int(tokens.get("input_uncached", 0) + tokens.get("cache_read", 0)),
        }
        if report == "completions":
            row |= {
                "input_cached_tokens": int(tokens.get("cache_read", 0)),
                "output_tokens": int(tokens.get("output_text", 0) + tokens.get("reasoning", 0)),
                "batch": False,
                "service_tier": tier,
            }
        rows.append(row)
    return rows


def _anthropic_page(days: Sequence[date], rows: Callable[[date], list[Row]]) -> Row:
    def zulu(day: date) -> str:
        return f"{day.isoformat()}T00:00:00Z"

    data = [
        {"starting_at": zulu(day), "ending_at": zulu(day + timedelta(days=1)), **row}
        for day in days
        for row in rows(day)
    ]
    refreshed = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"data": data, "has_more": False, "next_page": None, "data_refreshed_at": refreshed}


def _anthropic_costs(books: Books, day: date) -> list[Row]:
    calls = _of_day(books, "anthropic", day)
    sums = _sums((call.model, name, amount) for call in calls for name, amount in call.parts.items())
    rows: list[Row] = []
    for model, parts in sorted(sums.items()):
        for name, amount in parts.items():
            searched = name == "web_searches"
            group = {
                "model": model,
                "cost_type": "web_search" if searched else "tokens",
                "token_type": None if searched else ANTHROPIC_TYPES[name],
                "service_tier": "standard",
            }
            cents = format(amount * 100, "f")
            rows.append({"group": group, "cost": {"amount": cents, "list_amount": cents, "currency": "USD"}})
    return [row for row in rows if Decimal(row["cost"]["amount"])]


def _anthropic_usage(books: Books, day: date) -> list[Row]:
    calls = list(_of_day(books, "anthropic", day))
    sums = _sums((call.model, name, Decimal(count)) for call in calls for name, count in call.tokens.items())
    rows: list[Row] = []
    for model, tokens in sorted(sums.items()):
        usage = {
            "uncached_input_tokens": int(tokens.get("input_uncached", 0)),
            "cache_read_input_tokens": int(tokens.get("cache_read", 0)),
            "cache_creation": {
                "ephemeral_5m_input_tokens": int(tokens.get("cache_write_5m", 0)),
                "ephemeral_1h_input_tokens": int(tokens.get("cache_write_1h", 0)),
            },
            "output_tokens": int(tokens.get("output_text", 0)),
            "server_tool_use": {"web_search_requests": sum(call.web_searches for call in calls if call.model == model)},
            "requests": sum(1 for call in calls if call.model == model),
        }
        rows.append({"group": {"model": model, "service_tier": "standard"}, "usage": usage})
    return rows
