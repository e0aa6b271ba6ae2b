"""For ``opentelemetry-instrument``, which finds these through the entry point group ``opentelemetry_instrumentor``.

Needs the package ``opentelemetry-instrumentation`` (extra ``auto``); `spanledger.instrumentation.instrument` does not.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]
    BaseInstrumentor,
)

from spanledger.instrumentation import _runtime
from spanledger.instrumentation._sdks import SDKS


class _SdkInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    sdk: str

    def instrumentation_dependencies(self) -> Collection[str]:
        return (SDKS[self.sdk].requires,)

    def _instrument(self, **kwargs: Any) -> None:
        _runtime.instrument(
            (self.sdk,), tracer_provider=kwargs.get("tracer_provider"), meter_provider=kwargs.get("meter_provider")
        )

    def _uninstrument(self, **_kwargs: Any) -> None:
        _runtime.uninstrument((self.sdk,))


class OpenAIInstrumentor(_SdkInstrumentor):
    """Records the calls of the OpenAI SDK."""

    sdk = "openai"


class AnthropicInstrumentor(_SdkInstrumentor):
    """Records the calls of the Anthropic SDK."""

    sdk = "anthropic"


class GoogleGenAIInstrumentor(_SdkInstrumentor):
    """Records the calls of the Google Gen AI SDK."""

    sdk = "google-genai"


class BotocoreInstrumentor(_SdkInstrumentor):
    """Records the calls of Amazon Bedrock through botocore and boto3."""

    sdk = "botocore"


class CohereInstrumentor(_SdkInstrumentor):
    """Records the calls of the Cohere SDK."""

    sdk = "cohere"


class MistralInstrumentor(_SdkInstrumentor):
    """Records the calls of the Mistral SDK."""

    sdk = "mistralai"


class GroqInstrumentor(_SdkInstrumentor):
    """Records the calls of the Groq SDK."""

    sdk = "groq"


class OllamaInstrumentor(_SdkInstrumentor):
    """Records the calls of the Ollama SDK."""

    sdk = "ollama"


class LiteLLMInstrumentor(_SdkInstrumentor):
    """Records the calls of LiteLLM."""

    sdk = "litellm"


class XaiSdkInstrumentor(_SdkInstrumentor):
    """Records the calls of the xAI SDK."""

    sdk = "xai-sdk"


class AiobotocoreInstrumentor(_SdkInstrumentor):
    """Records the calls of Amazon Bedrock through aiobotocore and aioboto3."""

    sdk = "aiobotocore"
