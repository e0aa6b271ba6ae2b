"""A small application that calls two providers with their own SDKs. It knows nothing about Spanledger's capture.

    pip install openai anthropic "spanledger[auto]"
    opentelemetry-instrument python examples/app.py

Every call below becomes one row of the ledger, with tokens, cost, team and feature.
"""

from __future__ import annotations

import asyncio
from typing import Any

from anthropic import Anthropic, AsyncAnthropic
from openai import AsyncOpenAI, OpenAI, RateLimitError

from spanledger.instrumentation import labels

QUESTION: list[Any] = [{"role": "user", "content": "Why did the bill grow last month?"}]
SEARCH: dict[str, Any] = {
    "name": "search_ledger",
    "description": "Search the ledger.",
    "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
}


def support_chat(openai: OpenAI) -> None:
    """Plain, streamed, and with a tool."""
    openai.chat.completions.create(model="gpt-4o-mini", messages=QUESTION)
    for _ in openai.chat.completions.create(model="gpt-4o", messages=QUESTION, stream=True):
        pass
    asked = openai.chat.completions.create(
        model="gpt-4.1-mini",
        messages=QUESTION,
        tools=[{"type": "function", "function": SEARCH}],  # type: ignore[list-item]
    )
    call = (asked.choices[0].message.tool_calls or [])[0]
    answered = [*QUESTION, asked.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "12.50 USD"}]
    openai.chat.completions.create(model="gpt-4.1-mini", messages=answered)


def search_index(openai: OpenAI) -> None:
    openai.embeddings.create(model="text-embedding-3-small", input=["how do I export?", "where is my invoice?"])
    openai.responses.create(model="gpt-5-mini", input="Rank these two questions.")


def code_review(anthropic: Anthropic) -> None:
    """A long system prompt, cached: the first call writes the cache, the second one reads it."""
    rules: list[Any] = [{"type": "text", "text": "House rules: … " * 400, "cache_control": {"type": "ephemeral"}}]
    for _ in range(2):
        anthropic.messages.create(model="claude-sonnet-5", max_tokens=800, system=rules, messages=QUESTION)
    with anthropic.messages.stream(model="claude-haiku-4-5", max_tokens=300, messages=QUESTION) as stream:
        for _ in stream.text_stream:
            pass


async def nightly_summary(openai: AsyncOpenAI, anthropic: AsyncAnthropic) -> None:
    """Both providers at once."""
    await asyncio.gather(
        openai.responses.create(model="o4-mini", input="Summarise the day."),
        anthropic.messages.create(model="claude-haiku-4-5", max_tokens=300, messages=QUESTION),
    )


def refused(openai: OpenAI) -> None:
    """A request that the provider refuses costs nothing, and is still on record."""
    try:
        openai.chat.completions.create(model="gpt-4o", messages=QUESTION, extra_headers={"x-fake": '{"status": 429}'})
    except RateLimitError as error:
        print("refused, as expected:", error.status_code)


async def batch_night() -> None:
    async with AsyncOpenAI() as openai, AsyncAnthropic() as anthropic:
        await nightly_summary(openai, anthropic)


def main() -> None:
    with OpenAI(max_retries=0) as openai, Anthropic() as anthropic:
        with labels(team_id="support", feature="chat"):
            support_chat(openai)
            refused(openai)
        with labels(team_id="search", feature="ranking"):
            search_index(openai)
        with labels(team_id="platform", feature="code-review"):
            code_review(anthropic)
    with labels(team_id="platform", feature="nightly-summary"):
        asyncio.run(batch_night())


if __name__ == "__main__":
    main()
