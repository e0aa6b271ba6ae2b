"""What every connector owes to its provider and to us: the same hardships in each provider's own dialect."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from fakes import anthropic, aws, azure, google, openai, openrouter, xai
from fakes.base import Answer, Fake, Question, answer, transport
from fakes.mistral import FakeMistral

from spanledger.reconciler.bill_line import BillLine, Kind
from spanledger.reconciler.connections import Connection
from spanledger.reconciler.connectors import CONNECTORS
from spanledger.reconciler.engine import Source
from spanledger.reconciler.errors import RetryableSyncError, State, SyncError
from spanledger.reconciler.opening import Opener
from spanledger.reconciler.secrets.references import Resolver
from spanledger.reconciler.streams import Context, Stream
from spanledger.reconciler.windows import Window
from spanledger.semconv.money import CONTEXT

DAY = date(2026, 11, 18)
Amounts = dict[date, str]


@dataclass
class World:
    """A provider with one charge a day, and its own words for trouble.

    ``put`` bills texts of the provider's own unit, of which ``unit`` makes one dollar; ``refused``, ``forbidden`` and
    ``throttled`` are its answers to a wrong key, to a missing role, and to haste.
    """

    connector: str
    fake: Fake
    put: Callable[[Amounts], None]
    refused: Answer
    forbidden: Answer
    throttled: Answer
    secrets: dict[str, str]
    needs: str
    settings: dict[str, str] = field(default_factory=dict)
    hosts: dict[str, Fake] = field(default_factory=dict)
    unit: Decimal = Decimal(1)
    is_bill: Callable[[Question], bool] = lambda _: True
    stream: str = "cost"
    renews: int = 0
    """How many more attempts a refused credential is worth (a token is fetched anew once)."""

    @contextmanager
    def opened(self, clock: Any) -> Iterator[tuple[Source, Stream]]:
        environ = {f"SECRET_{name.upper()}": value for name, value in self.secrets.items()}
        opener = Opener(
            resolver=Resolver(environ),
            clock=clock,
            client=lambda: httpx.Client(transport=transport(self.fake, hosts=self.hosts)),
        )
        connection = Connection(
            org_id="o",
            name="prod",
            connector=self.connector,
            settings={"requests_per_second": "1000", **self.settings},
            secrets={name: f"env:SECRET_{name.upper()}" for name in self.secrets},
        )
        with opener.open(connection) as opened:
            source = opened.source()
            yield source, next(stream for stream in source.streams if stream.name == self.stream)

    def charges(self, clock: Any, since: date = DAY, until: date = DAY + timedelta(days=1)) -> list[BillLine]:
        """The charges of some days, as the provider's pages are parsed; without a store."""
        with self.opened(clock) as (source, stream):
            policy = stream.policy
            window = Window(since, until, policy.grain, policy.zone)
            context = Context(window, clock.now(), Counter())
            found = [line for page in stream.pull(source.api, window) for line in stream.parse(page, context)]
        inside = [line for line in found if window.start <= line.start < window.end or policy.grain == "month"]
        return [line for line in inside if line.kind is Kind.COST]


def number(document: Any, **headers: str) -> Answer:
    """A JSON answer in which ``"@1.5@"`` became the number 1.5, digit by digit."""
    sent = answer(document, **headers)
    return Answer(sent.status, re.sub(rb'"@([^"]*)@"', rb"\1", sent.body), sent.headers)


class Numbers:
    """Lets a fake send numbers with more digits than a float has."""

    def reply(self, question: Question) -> Answer:
        sent = super().reply(question)  # type: ignore[misc]
        return Answer(sent.status, re.sub(rb'"@([^"]*)@"', rb"\1", sent.body), sent.headers)


class DigitsXai(Numbers, xai.FakeXai):
    """xAI's dollars are JSON numbers."""


class DigitsAzure(Numbers, azure.FakeCostManagement):
    """Azure's amounts are JSON numbers."""


class DigitsOpenRouter(Numbers, openrouter.FakeOpenRouter):
    """OpenRouter's amounts are JSON numbers."""


class DigitsMistral(Numbers, FakeMistral):
    """Mistral's values are JSON numbers."""


def world_openai() -> World:
    fake = openai.FakeOpenAI()

    def put(amounts: Amounts) -> None:
        fake.costs = {day: [openai.cost("gpt-4o, input", amount)] for day, amount in amounts.items()}

    return World(
        "openai", fake, put,
        refused=openai.error(401, "Incorrect API key provided"),
        forbidden=openai.error(401, "You have insufficient permissions. Missing scopes: api.usage.read."),
        throttled=openai.error(429, "Rate limit reached", retry_after="2"),
        secrets={"admin_key": fake.key}, needs="api.usage.read", stream="costs",
    )  # fmt: skip


def world_anthropic() -> World:
    fake = anthropic.FakeAnthropic()

    def put(amounts: Amounts) -> None:
        fake.cost = {day: [anthropic.cost_row(amount, "output_tokens")] for day, amount in amounts.items()}

    return World(
        "anthropic", fake, put,
        refused=anthropic.error(401, "invalid x-api-key"),
        forbidden=anthropic.error(403, "not allowed"),
        throttled=anthropic.error(429, "slow down", retry_after="2"),
        secrets={"admin_key": fake.key}, needs="Admin API key", settings={"api": "analytics"}, unit=Decimal(100),
    )  # fmt: skip


def world_anthropic_admin() -> World:
    made = world_anthropic()
    fake = made.fake
    assert isinstance(fake, anthropic.FakeAnthropic)

    def put(amounts: Amounts) -> None:
        fake.cost_report = {
            day: [{"currency": "USD", "amount": amount, "token_type": "output_tokens", "cost_type": "tokens"}]
            for day, amount in amounts.items()
        }

    made.put, made.settings = put, {"api": "admin"}
    return made


def world_xai() -> World:
    fake = DigitsXai()

    def put(amounts: Amounts) -> None:
        fake.usd = {"Chat grok-4-0709": {day: f"@{amount}@" for day, amount in amounts.items()}}

    return World(
        "xai", fake, put,
        refused=answer({"code": 16, "message": "invalid management key", "details": []}, 401),
        forbidden=answer({"code": 7, "message": "permission denied", "details": []}, 403),
        throttled=answer({"code": 8, "message": "too many requests"}, 429, retry_after="2"),
        secrets={"management_key": fake.key}, needs="billing read scope", settings={"team_id": xai.TEAM},
        stream="usage",
    )  # fmt: skip


def world_azure() -> World:
    entra = azure.FakeEntra()
    fake = DigitsAzure(entra)

    def put(amounts: Amounts) -> None:
        fake.rows = {
            day: [(f"@{amount}@", 1, azure.SUBSCRIPTION, "gpt 4.1 Inp glbl Tokens", "USD")]
            for day, amount in amounts.items()
        }

    return World(
        "azure_openai", fake, put,
        refused=answer({"error": {"code": "InvalidAuthenticationToken", "message": "no"}}, 401),
        forbidden=answer({"error": {"code": "RBACAccessDenied", "message": "no"}}, 403),
        throttled=answer(
            {"error": {"code": "429", "message": "Too many requests. Please retry."}}, 429,
            **{"x-ms-ratelimit-microsoft.costmanagement-entity-retry-after": "2"},
        ),
        secrets={"client_secret": entra.secret}, needs="Cost Management Reader",
        settings={"tenant_id": azure.TENANT, "client_id": "app", "scope": azure.SUBSCRIPTION},
        hosts={"login.microsoftonline.com": entra, "management.azure.com": fake}, renews=1,
    )  # fmt: skip


def world_aws() -> World:
    fake = aws.FakeCostExplorer()

    def put(amounts: Amounts) -> None:
        fake.groups = {
            day: [("Usage", "USE1-NovaPro-output-tokens", "Amazon Bedrock", amount, "1", "N/A")]
            for day, amount in amounts.items()
        }

    return World(
        "aws_bedrock", fake, put,
        refused=aws.failure("UnrecognizedClientException", "The security token included in the request is invalid."),
        forbidden=aws.failure("AccessDeniedException", "not authorized to perform: ce:GetCostAndUsage"),
        throttled=aws.failure("ThrottlingException", "Rate exceeded"),
        secrets={"secret_access_key": aws.SECRET}, needs="ce:GetCostAndUsage",
        settings={"access_key_id": aws.KEY_ID},
    )  # fmt: skip


def world_google() -> World:
    fake = google.FakeGoogle()

    def put(amounts: Amounts) -> None:
        fake.rows = [
            google.Billed(datetime(day.year, day.month, day.day, 20, tzinfo=UTC), "Gemini 3 Pro Text Input", amount,
                          day=day.isoformat())
            for day, amount in amounts.items()
        ]  # fmt: skip

    return World(
        "google", fake, put,
        refused=google.failure(401, "UNAUTHENTICATED", "authError", "Request had invalid credentials."),
        forbidden=google.failure(403, "PERMISSION_DENIED", "accessDenied", "Access Denied"),
        throttled=google.failure(403, "RESOURCE_EXHAUSTED", "rateLimitExceeded", "Exceeded rate limits"),
        secrets={"service_account_key": fake.key_file}, needs="roles/bigquery.dataViewer",
        settings={"table": google.TABLE}, is_bill=lambda question: question.path != "/token", renews=1,
    )  # fmt: skip


def world_openrouter() -> World:
    fake = DigitsOpenRouter()

    def put(amounts: Amounts) -> None:
        fake.activity = {
            (day, "hash_a"): [openrouter.row("openai/gpt-4.1", f"@{amount}@")]  # type: ignore[arg-type]
            for day, amount in amounts.items()
        }

    return World(
        "openrouter", fake, put,
        refused=answer({"error": {"code": 401, "message": "No auth credentials found"}}, 401),
        forbidden=answer({"error": {"code": 403, "message": "Only management keys can fetch activity"}}, 403),
        throttled=answer({"error": {"code": 429, "message": "Rate limited"}}, 429, retry_after="2"),
        secrets={"management_key": fake.key}, needs="a management key", settings={"by_key": "off"}, stream="activity",
    )  # fmt: skip


def world_mistral() -> World:
    fake = DigitsMistral()

    def put(amounts: Amounts) -> None:
        points = [{"timestamp": f"{day}T00:00:00Z", "value": f"@{amount}@"} for day, amount in amounts.items()]
        fake.documents = {
            (2026, 11): {"currency": "USD", "completion": {"models": {"mistral-large-2512": {"cost": points}}}}
        }

    return World(
        "mistral", fake, put,
        refused=answer({"message": "Unauthorized"}, 401),
        forbidden=answer({"message": "Forbidden"}, 403),
        throttled=answer({"message": "Rate limit exceeded"}, 429, retry_after="2"),
        secrets={"admin_key": fake.key}, needs="Enterprise admin key", stream="usage",
    )  # fmt: skip


WORLDS = (
    world_openai, world_anthropic, world_anthropic_admin, world_xai, world_azure, world_aws, world_google,
    world_openrouter, world_mistral,
)  # fmt: skip


@pytest.fixture(params=WORLDS, ids=lambda make: make.__name__.removeprefix("world_"))
def world(request: pytest.FixtureRequest) -> World:
    made: World = request.param()
    made.put({DAY: "1.25"})
    return made


def dollars(world: World, text: str) -> Decimal:
    return CONTEXT.divide(Decimal(text), world.unit)


def test_every_provider_with_an_api_is_here():
    """A new connector comes with its fake; Groq has no bill to pull, only batches."""
    assert {make().connector for make in WORLDS} | {"file", "groq"} == {each.spec.name for each in CONNECTORS}


def test_a_charge_is_read(world, clock):
    """One line, the whole day, dollars."""
    (line,) = world.charges(clock)
    assert line.money is not None
    assert (line.money.amount, line.money.currency) == (dollars(world, "1.25"), "USD")
    assert line.provider in ("openai", "anthropic", "xai", "azure_openai", "aws_bedrock", "google_vertex",
                             "openrouter", "mistral")  # fmt: skip


def test_a_refused_credential_is_not_tried_again(world, clock):
    """auth_failed after one attempt (two where a token can be fetched anew), one line, no secret in it."""
    world.fake.fail_next(*[world.refused] * 9, when=world.is_bill)
    with pytest.raises(SyncError) as caught:
        world.charges(clock)
    assert caught.value.state is State.AUTH_FAILED
    assert len([question for question in world.fake.questions if world.is_bill(question)]) == 1 + world.renews
    said = str(caught.value)
    assert "\n" not in said
    assert [secret for secret in world.secrets.values() if secret in said] == []


def test_a_missing_permission_is_named(world, clock):
    """permission_missing, at once, with the scope or role in the provider's own words."""
    world.fake.fail_next(*[world.forbidden] * 9, when=world.is_bill)
    with pytest.raises(SyncError) as caught:
        world.charges(clock)
    assert caught.value.state is State.PERMISSION_MISSING
    assert world.needs in str(caught.value)
    assert clock.slept == []
    with world.opened(clock) as (_, stream):
        assert world.needs in stream.permission


def test_throttling_outages_and_cut_answers_are_sat_out(world, clock):
    """429 (or what the provider has for it), 500, 503, a dead connection and half a body: then the whole answer."""
    hardships = [
        world.throttled,
        answer({"error": "oops"}, 500),
        answer({"error": "later"}, 503),
        httpx.ReadTimeout("timed out"),
        Answer(200, b'{"data": [{"sta', {"content-type": "application/json"}),
    ]
    world.fake.fail_next(*hardships, when=world.is_bill)
    (line,) = world.charges(clock)
    assert line.money is not None
    assert line.money.amount == dollars(world, "1.25")
    assert len(clock.slept) == len(hardships)
    if "retry-after" in world.throttled.headers or "azure" in world.connector:
        assert clock.slept[0] == 2


def test_an_outage_that_lasts_is_no_total(world, clock):
    """Retryable, degraded, one line; nothing is handed over."""
    world.fake.fail_next(*[answer({"error": "down"}, 500)] * 99, when=world.is_bill)
    with pytest.raises(RetryableSyncError) as caught:
        world.charges(clock)
    assert (caught.value.state, "500" in str(caught.value)) == (State.DEGRADED, True)


AMOUNTS = (
    "123456789012345678901.123456789012345678901234567890123456",
    "0.000000000000000000000000000000000004500",
    "-0.10",
    "1E-30",
)


@pytest.mark.parametrize("amount", AMOUNTS)
def test_no_digit_is_lost(world, clock, amount):
    """Huge, tiny, negative, in scientific notation: the line's amount is the text's value in dollars."""
    world.put({DAY: amount})
    (line,) = world.charges(clock)
    assert line.money is not None
    assert line.money.amount == dollars(world, amount)


def with_strange_company(node: Any) -> Any:
    """The same document with a key that nobody knows in every object."""
    if isinstance(node, list):
        return [with_strange_company(each) for each in node]
    if isinstance(node, dict):
        known = {key: with_strange_company(value) for key, value in node.items()}
        return {"x_new_in_2027": {"nested": [1, None, "?"]}, **known}
    return node


def test_unknown_fields_change_nothing(world, clock, monkeypatch):
    """A provider adds fields everywhere without notice."""
    before = world.charges(clock)
    plain = world.fake.reply

    def reply(question: Question) -> Answer:
        sent = plain(question)
        if not world.is_bill(question) or not sent.body:
            return sent
        # Numbers travel as text through this test's own JSON.
        document = json.loads(sent.body, parse_float=lambda said: f"@{said}@")
        return number(with_strange_company(document), **sent.headers)

    monkeypatch.setattr(world.fake, "reply", reply)
    assert world.charges(clock) == before


def test_restated_and_late_days_replace(world, rig):
    """The first statement, a correction with a late day, and one day gone: what was said last stands, once."""
    made = rig(world.fake, world.connector, settings=world.settings, secrets=world.secrets, hosts=world.hosts)
    days = [DAY - timedelta(days=back) for back in (3, 2, 1, 0)]
    for amounts in ({0: "1", 1: "2", 2: "4"}, {0: "1", 1: "2.5", 2: "4", 3: "8"}, {0: "1", 1: "2.5", 3: "8"}):
        world.put({days[index]: amount for index, amount in amounts.items()})
        report = made.sync(str(days[0]), str(DAY + timedelta(days=1)), streams=frozenset({world.stream}))[world.stream]
        assert report.state in (State.OK, State.DELAYED_BY_PROVIDER), report.detail
        made.clock.advance(minutes=1)
        stated = sum((dollars(world, amount) for amount in amounts.values()), Decimal(0))
        assert made.total() == stated
    assert len(made.lines("amount", "kind = 'cost'")) == 3


def test_a_clock_that_is_wrong_shifts_no_day(world, clock):
    """The provider's Date header a day ahead: noticed, and the lines stay where they are."""
    before = world.charges(clock)
    plain = world.fake.reply
    ahead = (clock.now() + timedelta(days=1)).strftime("%a, %d %b %Y %H:%M:%S GMT")

    def reply(question: Question) -> Answer:
        sent = plain(question)
        return Answer(sent.status, sent.body, {**sent.headers, "date": ahead})

    world.fake.reply = reply  # type: ignore[method-assign]
    with world.opened(clock) as (source, stream):
        window = Window(DAY, DAY + timedelta(days=1), stream.policy.grain, stream.policy.zone)
        pages = list(stream.pull(source.api, window))
        assert pages
        assert source.api.traffic.clock_skew_seconds == 86400
    assert world.charges(clock) == before
