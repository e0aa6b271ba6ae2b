"""Who else instruments these SDKs: what to install, which calls they record, how they are switched on.

Every variant leaves prompts and answers out where it can be told to, and gets the tracer provider (and, with
``+metrics``, the meter provider) that Spanledger gets. `logfire` and `langfuse` always record content.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

SDKS = ("openai>=3", "anthropic>=2", "opentelemetry-sdk>=1.45", "wrapt")
BOTH = ("openai", "anthropic", "openai stream", "anthropic stream")
OPENAI = ("openai", "openai stream")
ANTHROPIC = ("anthropic", "anthropic stream")


@dataclass(frozen=True)
class Peer:
    """One other instrumentation.

    Attributes:
        needs: requirements beside the SDKs.
        scenarios: the calls that it records.
        has_metrics: whether it can be measured with metrics, too.
        sdks: the SDKs that it is measured with, where it cannot stand beside the newest.
        environment: environment variables of its processes.
        without_metrics: further ones, for the variant without metrics.
        without_dependencies: requirements whose own ones are named in `needs` (an index may lack them).
        says: what to know when reading its figures.
    """

    needs: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = BOTH
    has_metrics: bool = True
    sdks: tuple[str, ...] = SDKS
    environment: dict[str, str] = field(default_factory=dict)
    without_metrics: dict[str, str] = field(default_factory=dict)
    without_dependencies: tuple[str, ...] = ()
    says: str = ""


PEERS = {
    "native": Peer(
        scenarios=ANTHROPIC,
        has_metrics=False,
        environment={"ANTHROPIC_OPEN_TELEMETRY": "true"},
        says="the Anthropic SDK's own spans: no cost, no labels",
    ),
    "genai": Peer(
        ("opentelemetry-instrumentation-genai-openai", "opentelemetry-instrumentation-genai-anthropic"),
        says="OpenTelemetry's own: no cost",
    ),
    "openai-v2": Peer(
        # it imports httpx, which openai 3 no longer brings, and a module that util-genai 1 dropped
        ("opentelemetry-instrumentation-openai-v2", "httpx", "opentelemetry-util-genai==0.4b0"),
        scenarios=OPENAI,
        says="OpenTelemetry's former one: no cost",
    ),
    "openllmetry": Peer(
        ("opentelemetry-instrumentation-openai", "opentelemetry-instrumentation-anthropic"),
        environment={"TRACELOOP_TRACE_CONTENT": "false"},
        without_metrics={"TRACELOOP_METRICS_ENABLED": "false"},
        says="no cost",
    ),
    "openinference": Peer(
        ("openinference-instrumentation-openai", "openinference-instrumentation-anthropic"),
        has_metrics=False,
        environment={"OPENINFERENCE_HIDE_INPUTS": "true", "OPENINFERENCE_HIDE_OUTPUTS": "true"},
        says="no cost",
    ),
    "openlit": Peer(
        ("openlit>=1.45",),
        sdks=("openai", "anthropic", "opentelemetry-sdk", "wrapt"),
        says="with cost; holds the SDKs back",
    ),
    "logfire": Peer(
        (
            *("certifi", "executing", "opentelemetry-exporter-otlp-proto-http", "opentelemetry-instrumentation"),
            *("protobuf", "requests", "rich", "genai-prices"),
        ),
        has_metrics=False,
        without_dependencies=("logfire", "logfire-sdk"),
        says="with cost; records content",
    ),
    "langfuse": Peer(
        ("langfuse",), scenarios=OPENAI, has_metrics=False, says="no cost; builds the content, then masks it"
    ),
    "tokenid": Peer(
        ("tokenid",),
        has_metrics=False,
        environment={"TOKENID_DISABLE_TELEMETRY": "1"},
        says="five attributes, no usage on streams; cost for its journal alone",
    ),
}


def switch_on(name: str, tracer_provider: Any, meter_provider: Any, processor: Callable[[], Any]) -> None:
    """Switch a peer on, as its documentation says.

    Args:
        processor: makes a span processor that exports to nowhere, for those that bring a tracer provider of their own.
    """
    providers = {"tracer_provider": tracer_provider, **({"meter_provider": meter_provider} if meter_provider else {})}
    if name == "genai":
        from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor
        from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

        OpenAIInstrumentor().instrument(**providers)
        AnthropicInstrumentor().instrument(**providers)
    elif name == "openai-v2":
        from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor

        OpenAIInstrumentor().instrument(**providers)
    elif name == "openllmetry":
        from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor
        from opentelemetry.instrumentation.openai import OpenAIInstrumentor

        OpenAIInstrumentor().instrument(**providers)
        AnthropicInstrumentor().instrument(**providers)
    elif name == "openinference":
        from openinference.instrumentation.anthropic import AnthropicInstrumentor
        from openinference.instrumentation.openai import OpenAIInstrumentor

        OpenAIInstrumentor().instrument(tracer_provider=tracer_provider)
        AnthropicInstrumentor().instrument(tracer_provider=tracer_provider)
    elif name == "openlit":
        import openlit

        others = [one for one in openlit.MODULE_NAME_MAP if one not in ("openai", "anthropic")]
        openlit.init(
            # its prices are a download; these two are what it needs
            pricing_json=os.path.join(os.path.dirname(__file__), "openlit_prices.json"),
            disabled_instrumentors=others,
            capture_message_content=False,
            disable_events=True,
            disable_metrics=meter_provider is None,
        )
    elif name == "logfire":
        import logfire

        logfire.configure(
            send_to_logfire=False,
            console=False,
            metrics=False,
            inspect_arguments=False,
            additional_span_processors=[processor()],
        )
        logfire.instrument_openai()
        logfire.instrument_anthropic()
    elif name == "langfuse":
        import langfuse.openai  # noqa: F401 - what patches
        from langfuse import Langfuse
        from opentelemetry.sdk.trace import TracerProvider

        Langfuse(
            public_key="pk-lf-none",
            secret_key="sk-lf-none",
            base_url="http://127.0.0.1:9",
            tracer_provider=TracerProvider(),
            span_exporter=processor().span_exporter,
            mask=lambda *, data, **_: "-",
        )
    elif name == "tokenid":
        import tokenid  # noqa: F401


def client_classes(name: str) -> tuple[Any, Any]:
    """The OpenAI and the Anthropic client class that an application of this peer uses."""
    import anthropic
    import openai

    if name == "tokenid":
        import tokenid

        return tokenid.JournaledOpenAI, tokenid.JournaledAnthropic
    if name == "langfuse":
        from langfuse.openai import OpenAI

        return OpenAI, anthropic.Anthropic
    return openai.OpenAI, anthropic.Anthropic
