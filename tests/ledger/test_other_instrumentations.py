"""Another instrumentation is active on the same SDKs: two spans for a call, one call in the ledger, at what it cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import anthropic
import openai
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from spanledger import instrumentation
from spanledger.instrumentation.processor import _record
from spanledger.semconv.dialects import Dialects
from spanledger.semconv.prices import PriceBook

try:
    IS_THERE = find_spec("opentelemetry.instrumentation.genai.openai") and find_spec("openinference.instrumentation")
except ModuleNotFoundError:
    IS_THERE = None
if not IS_THERE:
    # Installed for good, they would instrument every `opentelemetry-instrument` of the other tests.
    pytest.skip("other instrumentations have a step of their own in .ci/run", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs
MESSAGES: list[Any] = [{"role": "user", "content": "Why did the invoice grow?"}]


def genai() -> list[Any]:
    from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

    return [OpenAIInstrumentor(), AnthropicInstrumentor()]


def openinference() -> list[Any]:
    from openinference.instrumentation.anthropic import AnthropicInstrumentor
    from openinference.instrumentation.openai import OpenAIInstrumentor

    return [OpenAIInstrumentor(), AnthropicInstrumentor()]


@pytest.fixture(params=[genai, openinference], ids=["genai", "openinference"])
def theirs(request: pytest.FixtureRequest) -> list[Any]:
    made: list[Any] = request.param()
    return made


@pytest.fixture(params=["before", "after", "alone"])
def spans(request: pytest.FixtureRequest, theirs: list[Any]) -> Iterator[Callable[[], list[Any]]]:
    """Both switched on, ours before or after theirs; gives what both recorded. ``alone``: ours alone."""
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    def ours() -> None:
        instrumentation.instrument(tracer_provider=provider, environment={}, raise_errors=True)

    if request.param != "after":
        ours()
    for one in theirs if request.param != "alone" else ():
        one.instrument(tracer_provider=provider)
    if request.param == "after":
        ours()

    def recorded() -> list[Any]:
        instrumentation.flush()
        return list(exporter.get_finished_spans())

    yield recorded
    for one in theirs if request.param != "alone" else ():
        one.uninstrument()
    instrumentation.uninstrument()
    provider.shutdown()


def ask(provider: Any) -> None:
    """Every way of asking once."""
    chat = openai.OpenAI(api_key="sk-1", base_url=provider.openai_url, max_retries=0).chat.completions
    chat.create(model="gpt-4o", messages=MESSAGES)
    for _ in chat.create(model="gpt-4o-mini", messages=MESSAGES, stream=True):
        pass
    messages = anthropic.Anthropic(api_key="sk-2", base_url=provider.url, max_retries=0).messages
    messages.create(model="claude-haiku-4-5", max_tokens=400, messages=MESSAGES)
    for _ in messages.create(model="claude-haiku-4-5", max_tokens=300, messages=MESSAGES, stream=True):
        pass


def test_each_call_once(
    request: pytest.FixtureRequest, spans: Any, fake_provider: Any, new_writer: Any, org: str, books: Any
) -> None:
    ask(fake_provider)
    recorded = spans()
    is_alone = "alone" in request.node.name
    assert len(recorded) == (4 if is_alone else 8), [(span.name, span.instrumentation_scope.name) for span in recorded]
    dialects = Dialects()
    read = [dialects.read_span(_record(span)) for span in recorded]
    new_writer(org, prices=PriceBook())(*[one for one in read if one is not None])
    calls = books.calls("response_id, input_tokens, output_tokens, cost_usd, witness_count")
    billed = sorted((one.response_id, one.cost) for one in fake_provider.books.calls)
    assert sorted((identifier, cost) for identifier, _, _, cost, _ in calls) == billed
    assert {count for *_, count in calls} == ({1} if is_alone else {2})
