"""``spanledger prices``: rates, their arithmetic, what has none, contracts."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spanledger.cli import options, output, pricing
from spanledger.cli.errors import CommandError, UserError
from spanledger.cli.sql import load
from spanledger.semconv import money

if TYPE_CHECKING:
    from spanledger.semconv.cost import Cost
    from spanledger.semconv.prices import RateSnapshot
    from spanledger.semconv.usage import Usage


def show(
    model: Annotated[str, typer.Argument(help="Part of a model's name; everything without it.")] = "",
    provider: Annotated[str, options.option("--provider", "Only this provider's.")] = "",
    prices: pricing.Prices = None,
    data: options.Data = options.DEFAULT_DATA,
    as_json: options.Json = False,
) -> None:
    """Show the price book's rates: by model, token class and condition, with the days on which they held."""
    from spanledger.semconv.providers import biller

    book = pricing.book(prices, data)
    word = biller(provider) or provider
    records = [record for record in book.records() if word in ("", record.provider)]
    if word and not records:
        raise UserError(f"--provider: the price book has no prices of {provider!r}")
    found = [record for record in records if model.lower() in record.model.lower()]
    if not found:
        raise UserError(
            f"the price book has no model like {model!r}; nearest: {', '.join(_nearest(book, word, model))}"
        )
    columns = ("provider", "model", "class", "usd", "per", "unit", "conditions", "from", "until", "source", "price_id")
    rows = [
        (
            r.provider, r.model, r.token_class, r.rate, r.per, r.unit, _conditions(r.conditions),
            r.valid_from, r.valid_to, f"{r.source} {r.source_version}", r.price_id,
        )
        for r in sorted(found, key=lambda r: (r.provider, r.model, str(r.valid_from or ""), r.price_id))
    ]  # fmt: skip
    if as_json:
        output.print_json(output.records(columns, rows))
    else:
        output.print_table(columns[:9], [row[:9] for row in rows])


def explain(
    call_id: Annotated[str, typer.Argument(help="A call's id, or its beginning.")],
    org: options.Org = options.DEFAULT_ORG,
    prices: pricing.Prices = None,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
    as_json: options.Json = False,
) -> None:
    """Spell out what a call cost: quantities times rates, line by line, and where the rates come from."""
    from spanledger.cli import access
    from spanledger.ledger import shares
    from spanledger.ledger.price_archive import PriceArchive
    from spanledger.semconv.cost import Cost, CostStatus
    from spanledger.semconv.prices import reasons
    from spanledger.semconv.prices.explain import lines

    with access.client(data, clickhouse) as client, access.readable_errors():
        rows = _query(client, "call_cost", {"org": org, "call": call_id})
        if len(rows) != 1:
            problem = "no call has" if not rows else "several calls have"
            raise UserError(f"{problem} an id that begins with {call_id!r} in org {org}")
        (row,) = rows
        snapshot = PriceArchive(client).snapshot(row["price_id"]) if row["price_id"] else None
    if snapshot is None and row["price_id"]:
        snapshot = pricing.book(prices, data).snapshot(row["price_id"])
    share = shares.share_of(row["cost_usd"], row["class_cost_usd"], row["cost_reason"])
    cost = Cost(
        status=CostStatus(row["cost_status"]),
        total=row["cost_usd"],
        low=row["cost_low_usd"],
        high=row["cost_high_usd"],
        by_class=row["class_cost_usd"],
        price_id=row["price_id"],
        reason=row["cost_reason"].replace(shares.SHARE, reasons.PROVISIONED),
    )
    if as_json:
        output.print_json(_explained(row, cost, snapshot, share))
        return
    output.say(f"{row['call_id']}: {row['provider']} {row['model']}, {row['started_at']:%Y-%m-%d %H:%M:%S} UTC")
    if share is not None:
        output.say(f"share of its day's part of the commitment, by tokens: ${money.text(share)}")
    for line in lines(cost, snapshot):
        output.say(line)
    if row["claimed_cost_usd"] is not None:
        output.say(f"claimed by the emitter: ${money.text(row['claimed_cost_usd'])}")


def _explained(
    row: Mapping[str, Any], cost: Cost, snapshot: RateSnapshot | None, share: Decimal | None
) -> dict[str, object]:
    from spanledger.semconv.prices.explain import parts
    from spanledger.semconv.prices.rates import unit_of

    return {
        **{name: row[name] for name in ("call_id", "provider", "model", "started_at")},
        "cost_status": cost.status.value,
        "cost_reason": cost.reason,
        "cost_usd": cost.total,
        "cost_low_usd": cost.low,
        "cost_high_usd": cost.high,
        "commitment_share_usd": share,
        "claimed_cost_usd": row["claimed_cost_usd"],
        "parts": [
            {
                "class": part.name,
                "quantity": part.quantity,
                "rate_usd": part.rate.amount if part.rate else None,
                "per": part.rate.per if part.rate else None,
                "unit": unit_of(part.name),
                "cost_usd": part.amount,
            }
            for part in parts(cost, snapshot)
        ],
        "price_id": cost.price_id,
        "rates": None
        if snapshot is None
        else {
            "provider": snapshot.provider,
            "model": snapshot.model,
            "source": f"{snapshot.source} {snapshot.source_version}".strip(),
            "from": snapshot.valid_from,
            "until": snapshot.valid_to,
            "conditions": _conditions(snapshot.conditions),
        },
    }


def unknown(
    org: options.Org = options.DEFAULT_ORG,
    prices: pricing.Prices = None,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
    as_json: options.Json = False,
) -> None:
    """List what has no price, with its calls and tokens and the nearest known names. Nothing is applied silently."""
    from spanledger.cli import access

    with access.client(data, clickhouse) as client, access.readable_errors():
        rows = _query(client, "unknown_prices", {"org": org})
    book = pricing.book(prices, data)
    for row in rows:
        row["nearest"] = ", ".join(_nearest(book, row["provider"], row["model"])) if row["model"] else ""
    if as_json:
        output.print_json(rows)
        return
    if not rows:
        output.say("Every call has a price.")
        return
    columns = ["provider", "model", "reason", "number", "input_tokens", "output_tokens", "last_seen", "nearest"]
    output.print_table(columns, [[row[name] for name in columns] for row in rows])
    output.say("Price them in the overrides file (docs/prices.md), then: spanledger reprice --since DAY --prices FILE")


def audit(
    since: Annotated[str, options.option("--since", "First day, UTC (2026-11-01).")] = "",
    limit: Annotated[int, options.option("--limit", "At most so many calls, newest first.", min=1)] = 10_000,
    org: options.Org = options.DEFAULT_ORG,
    prices: pricing.Prices = None,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
    as_json: options.Json = False,
) -> None:
    """Compare the costs that emitters claim with ours: where, by how much, and because of what."""
    from spanledger.cli import access
    from spanledger.ledger.claims import verdict
    from spanledger.semconv.observation import Observation

    start = _day(since, "--since") if since else date(2015, 1, 1)
    with access.client(data, clickhouse) as client, access.readable_errors():
        rows = _query(client, "claims", {"org": org, "since": _midnight(start), "limit": limit})
    book = pricing.book(prices, data)
    groups: dict[tuple[str, str, str], list[tuple[Decimal, Decimal]]] = defaultdict(list)
    for row in rows:
        seen = Observation(
            org_id=org,
            provider=row["provider"],
            request_model=row["request_model"],
            response_model=row["response_model"],
            started_ns=row["started_ns"],
            usage=_usage(row["usage"]),
            service_tier=row["service_tier"],
            inference_geo=row["inference_geo"],
            is_batch=row["is_batch"],
            project=row["project"],
        )
        why = verdict(seen, row["cost_usd"], row["claimed_cost_usd"], book)
        model = row["response_model"] or row["request_model"]
        groups[row["dialect"], model, why].append((row["cost_usd"], row["claimed_cost_usd"]))
    columns = ("emitter", "model", "because", "calls", "ours_usd", "claimed_usd", "difference_usd")
    table = [
        (*key, len(pairs), ours, theirs, theirs - ours)
        for key, pairs in sorted(groups.items())
        for ours, theirs in (tuple(sum(column, Decimal(0)) for column in zip(*pairs, strict=True)),)
    ]
    if as_json:
        output.print_json(output.records(columns, table))
    elif table:
        output.print_table(columns, table)
    else:
        output.say("No call carries a claimed cost.")


def override(
    file: Annotated[Path, options.option("--prices", "The overrides file to append to; made when it is missing.")],
    provider: Annotated[str, options.option("--provider", "Who bills.")],
    since: Annotated[str, options.option("--from", "First day, UTC (2026-11-01).", env="SPANLEDGER_OVERRIDE_FROM")],
    discount: Annotated[
        str, options.option("--discount", "Percent off the list, for example 4%; negative for a surcharge.")
    ] = "",
    rate: Annotated[
        list[str] | None,
        options.option("--rate", "Agreed US dollars a million units of a class: input=2.4; may be repeated."),
    ] = None,
    model: Annotated[str, options.option("--model", "Model or pattern (default: all).")] = "*",
    name: Annotated[str, options.option("--name", "What to call the rule.")] = "",
) -> None:
    """Append a contract discount or rates to the overrides file. Nothing is priced anew until `spanledger reprice`."""
    from spanledger.semconv.prices.overrides_file import OverridesError, load_overrides

    if bool(discount) == bool(rate):
        raise UserError("--discount or --rate: say one of them")
    first = _day(since, "--from")
    title = name or f"{provider} {model} from {first}"
    if rate:
        section, agreed, said = "rates", f"per_million = {{ {_rates(rate)} }}", ", ".join(rate)
    else:
        percent = money.text(_percent(discount))
        section, agreed, said = "discounts", f"percent = {percent}", f"{percent} % off"
    rule = (
        f"\n[[{section}]]\nname = {_toml(title)}\nprovider = {_toml(provider)}\nmodel = {_toml(model)}\n"
        f"{agreed}\nfrom = {first}\n"
    )
    if file.suffix != ".toml":
        raise UserError(f"{file}: rules are appended to a .toml file; write this one into it by hand")
    target = file.resolve()  # a link stays one
    fresh = target.with_name(f".{target.stem}.new.toml")
    try:
        if target.exists():
            shutil.copy(target, fresh)
        with fresh.open("a", encoding="utf-8") as out:
            out.write(rule)
        load_overrides(fresh)
        fresh.replace(target)
    except (OverridesError, OSError) as error:
        raise UserError(f"nothing was written: {str(error).replace(str(fresh), str(file))}") from error
    finally:
        fresh.unlink(missing_ok=True)
    output.say(f"{file}: {title}, {said}; now: spanledger reprice --since {first} --prices {file}")


def refresh(
    prices_url: pricing.PricesUrl = pricing.DEFAULT_PRICES_URL, data: options.Data = options.DEFAULT_DATA
) -> None:
    """Fetch the newest base prices that genai-prices publishes; believed only when plausible.

    Kept in the data directory and used from the next start on. Past calls keep their prices. A server does the same by
    itself with `serve --refresh-prices`.
    """
    import httpx

    from spanledger.cli.price_refresh import download
    from spanledger.semconv.prices.base import BaseBook
    from spanledger.semconv.prices.refresh import RefreshError, parse_base

    try:
        content = download(prices_url)
        base = parse_base(content, BaseBook())
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CommandError(
            f"cannot fetch {prices_url}: {error or type(error).__name__}; the prices in use stay"
        ) from error
    except RefreshError as error:
        raise CommandError(f"{error}; the prices in use stay") from error
    data.mkdir(parents=True, exist_ok=True)
    fresh = data / f"{pricing.REFRESHED}.new"
    fresh.write_bytes(content)
    fresh.replace(data / pricing.REFRESHED)
    models = sum(len(base.models(provider)) for provider in base.providers)
    output.say(f"{models} models of {len(list(base.providers))} providers; used from the next start on")


def _query(client: Any, name: str, parameters: Mapping[str, object]) -> list[dict[str, Any]]:
    result = client.query(load(name), parameters=dict(parameters))
    return [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]


def _nearest(book: Any, provider: str, model: str) -> Sequence[str]:
    return book.suggest(provider=provider, model=model) or ["nothing alike"]


def _conditions(conditions: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(conditions.items()))


def _usage(counted: Mapping[str, int]) -> Usage:
    from spanledger.semconv.usage import TOKEN_CLASSES, Usage

    classes: dict[str, Any] = {name: counted[name] for name in TOKEN_CLASSES if name in counted}
    return Usage(**classes, counts={name: count for name, count in counted.items() if name not in TOKEN_CLASSES})


def _day(text: str, flag: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"{flag}: not a day: {text!r}; write 2026-11-01") from error


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _percent(text: str) -> Decimal:
    try:
        return money.parse(text.strip().removesuffix("%"))
    except money.MoneyError as error:
        raise UserError(f"--discount: not a percentage: {text!r}; write 4% or 12.5%") from error


def _rates(rates: Sequence[str]) -> str:
    """``input=2.4`` and the like as the inside of a TOML table; the file's own rules judge the names."""
    written: list[str] = []
    for rate in rates:
        word, _, amount = rate.partition("=")
        try:
            written.append(f"{_toml(word.strip())} = {_toml(money.text(money.parse(amount.strip())))}")
        except money.MoneyError as error:
            raise UserError(f"--rate: not a rate: {rate!r}; write input=2.4") from error
    return ", ".join(written)


def _toml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
