"""The pages about connections: every ``console`` block is typed as it stands there, and prints what stands there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from fakes.anthropic import FakeAnthropic
from fakes.aws import KEY_ID, SECRET, FakeCostExplorer
from fakes.azure import FakeCostManagement, FakeEntra
from fakes.base import Answer, Question, serving
from fakes.batches import FakeOpenAIBatches
from fakes.google import FakeGoogle
from fakes.mistral import FakeMistral
from fakes.openai import FakeOpenAI, completions, cost, error
from fakes.openrouter import FakeOpenRouter
from fakes.xai import FakeXai

from spanledger.cli import runtime
from spanledger.reconciler.connectors import CONNECTORS

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGES = [*sorted((DOCS / "connectors").glob("*.md")), DOCS / "sync.md"]
OTHERS = DOCS / "connectors" / "others.md"
_WHEN = re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}(?::\d{2})?")
Cli = Callable[..., tuple[int, str, str]]


@dataclass(frozen=True)
class Example:
    """A command of a page, and what is printed below it."""

    words: list[str]
    output: str


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```console\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def examples(page: Path) -> Iterator[Example]:
    for block in blocks(page):
        for part in re.split(r"^\$ ", block.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield Example(shlex.split(command), output)


def plain(text: str) -> str:
    """Without times of day, trailing blanks and empty lines."""
    lines = [_WHEN.sub("2026-11-20 12:00", line).rstrip() for line in text.splitlines()]
    return "\n".join(line for line in lines if line)


class Restricted(FakeOpenAI):
    """Has a second admin key, which may do everything but read usage."""

    def reply(self, question: Question) -> Answer:
        if question.headers["authorization"] == "Bearer sk-admin-restricted":
            return error(401, "You have insufficient permissions for this operation. Missing scopes: api.usage.read.")
        return super().reply(question)


@pytest.fixture
def providers(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, list[str]]]:
    """The page's providers behind a socket each, keys where the page says; connector → the options that lead there."""
    openai, anthropic, xai, entra = Restricted(), FakeAnthropic(), FakeXai(), FakeEntra()
    aws, google, openrouter, mistral = (
        FakeCostExplorer(),
        FakeGoogle(),
        FakeOpenRouter(today=datetime.now(UTC).date()),
        FakeMistral(),
    )
    groq = FakeOpenAIBatches("gsk_fake", "/openai/v1", pages=False)
    openai.organization = "org-Ab3dEf6hIj9kLm2n"
    day = date(2026, 11, 3)
    openai.costs[day] = [cost("gpt-4o-2024-08-06, input", "12.50", quantity=5_000_000, unit="tokens")]
    openai.usage["completions"][day] = [completions("gpt-4o-2024-08-06", input_tokens=5_000_000, num_model_requests=2)]
    anthropic.organization = "8d2f3c54-6a1b-4f0e-9c57-2f1b0d4e6a7c"
    azure = FakeCostManagement(entra)
    (tmp_path / "key.json").write_text(google.key_file)
    (tmp_path / "november.csv").write_text(
        "date,provider,model,amount,currency,quantity,unit,token_class\n"
        "2026-11-03,cohere,command-r,1.50,USD,3,1M tokens,input_uncached\n"
        "2026-11-03,cohere,command-r,2.25,USD,1.5,1M tokens,output_text\n"
        "2026-11-04,cohere,command-r,n.a.,USD,1,1M tokens,output_text\n"
    )
    (tmp_path / "groq-november.csv").write_text(
        "Usage date,Model,Direction,Quantity (M),Amount (USD)\n"
        '11/03/2026,llama-3.3-70b-versatile,Input,"1,250.5",$738.30\n'
        "11/03/2026,llama-3.3-70b-versatile,Output,310,$244.90\n"
        ",Total,,,$983.20\n"
    )
    (tmp_path / "groq.toml").write_text(
        re.findall(r"^```text\n(.*?)^```", OTHERS.read_text(), re.DOTALL | re.MULTILINE)[0]
    )
    (tmp_path / "vercel-november.jsonl").write_text(
        '{"BilledCost": 0.0375, "BillingCurrency": "USD", "BillingPeriodStart": "2026-11-01T00:00:00Z", '
        '"ChargeCategory": "Usage", "ChargePeriodStart": "2026-11-03T00:00:00Z", '
        '"ChargePeriodEnd": "2026-11-04T00:00:00Z", "ServiceName": "AI Gateway", "ServiceProviderName": "Vercel"}\n'
    )
    for name, value in {
        "OPENAI_ADMIN_KEY": openai.key, "ANTHROPIC_ADMIN_KEY": anthropic.key, "XAI_MANAGEMENT_KEY": xai.key,
        "AZURE_CLIENT_SECRET": entra.secret, "AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET,
        "OPENROUTER_MANAGEMENT_KEY": openrouter.key, "MISTRAL_ADMIN_KEY": mistral.key, "WRONG_KEY": "sk-proj-1234",
        "RESTRICTED_KEY": "sk-admin-restricted", "GROQ_API_KEY": groq.key,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    fakes = {
        "openai": openai, "anthropic": anthropic, "xai": xai, "azure_openai": azure, "entra": entra,
        "aws_bedrock": aws, "google": google, "openrouter": openrouter, "mistral": mistral, "groq": groq,
    }  # fmt: skip
    paths = {"openai": "/v1", "openrouter": "/api/v1", "groq": "/openai/v1"}
    wanted = {example.words[3] for example in examples(page) if example.words[1:3] == ["connections", "add"]}
    with ExitStack() as stack:
        if "azure_openai" in wanted:
            wanted.add("entra")
        urls = {name: stack.enter_context(serving(fakes[name])) for name in wanted}
        there = {name: ["--base-url", f"{url}{paths.get(name, '')}"] for name, url in urls.items()}
        if "azure_openai" in wanted:
            there["azure_openai"] += ["--login-url", urls["entra"]]
        if "google" in wanted:
            there["google"] += ["--token-url", f"{urls['google']}/token"]
        yield {name: [*options, "--requests-per-second", "1000"] for name, options in there.items()}


@pytest.fixture
def pulling(server: Path) -> Iterator[None]:
    """The server says of itself what one with --sync says."""
    running = runtime.find(server)
    assert running is not None
    replace(running, pulls=True).write(server)
    yield
    running.write(server)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_pages_show_what_is_printed(page, cli, providers, pulling):
    """In the order of the page, each command in the state that the one before left."""
    found = list(examples(page))
    assert found, "a page without an example"
    wrong = []
    for example in found:
        assert example.words[0] == "spanledger"
        words = example.words[1:]
        more = providers[words[2]] if words[:2] == ["connections", "add"] else []
        _, out, err = cli(*words, *more)
        if plain(out + err) != plain(example.output):
            wrong.append(f"$ {shlex.join(example.words)}\n{plain(out + err)}")
    assert wrong == []


def test_every_connector_has_a_page_with_all_that_one_wants_to_know():
    """Which key, which role, what can be reconciled, what cannot, how fresh."""
    assert {page.stem for page in PAGES} >= {each.spec.name for each in CONNECTORS}
    for each in CONNECTORS:
        text = (DOCS / "connectors" / f"{each.spec.name}.md").read_text()
        missing = [word for word in ("**Can be reconciled**", "**Cannot**", "**Freshness**") if word not in text]
        if each.spec.secrets:
            missing += [] if re.search(r"\*\*(Key|Credential|Source)\*\*", text) else ["**Key**"]
        assert not missing, each.spec.name
