"""The SDKs that we know. What reads them is loaded only when the SDK itself is imported: an application pays for what
it uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final, Protocol

from spanledger.instrumentation._patching import Patches
from spanledger.instrumentation._problems import Problems
from spanledger.instrumentation._recorder import Recorder


class Patcher(Protocol):
    """What a module about an SDK provides."""

    def patch(self, module: Any, recorder: Recorder, problems: Problems) -> Patches:
        """Patch the imported module; what it lacks is reported to `problems`, and the rest still works."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sdk:
    """An SDK.

    Attributes:
        name: its distribution's name.
        module: the module whose import makes it patchable.
        requires: the supported versions, as pip writes them.
        patcher: where its `Patcher` is, ``module:name``.
        also: further modules, each patched when it is imported: of an SDK that has moved, or that comes in parts.
    """

    name: str
    module: str
    requires: str
    patcher: str
    also: tuple[str, ...] = ()

    def patch(self, module: Any, recorder: Recorder, problems: Problems) -> Patches:
        """Patch one of the SDK's modules, which has been imported."""
        home, _, name = self.patcher.partition(":")
        patcher: Patcher = getattr(import_module(home), name)
        return patcher.patch(module, recorder, problems)


_ALL: Final = (
    Sdk(
        name="openai",
        module="openai",
        also=(
            "openai.resources.realtime.realtime",
            "openai.resources.beta.realtime.realtime",
            "openai.resources.beta.responses.responses",
        ),
        requires="openai >= 1.55.3",
        patcher="spanledger.instrumentation.openai:OPENAI",
    ),
    Sdk(
        name="anthropic",
        module="anthropic",
        requires="anthropic >= 0.49.0",
        patcher="spanledger.instrumentation.anthropic:ANTHROPIC",
    ),
    Sdk(
        name="google-genai",
        module="google.genai",
        also=("google.genai._gaos.basesdk",),
        requires="google-genai >= 1.51.0",
        patcher="spanledger.instrumentation.google_genai:GOOGLE_GENAI",
    ),
    Sdk(
        name="botocore",
        module="botocore.client",
        requires="botocore >= 1.39.9",
        patcher="spanledger.instrumentation.botocore:BOTOCORE",
    ),
    Sdk(
        name="aiobotocore",
        module="aiobotocore.client",
        requires="aiobotocore >= 2.24.0",
        patcher="spanledger.instrumentation.aiobotocore:AIOBOTOCORE",
    ),
    Sdk(
        name="groq",
        module="groq",
        requires="groq >= 0.13.1",
        patcher="spanledger.instrumentation.groq:GROQ",
    ),
    Sdk(
        name="ollama",
        module="ollama",
        requires="ollama >= 0.5.0",
        patcher="spanledger.instrumentation.ollama:OLLAMA",
    ),
    Sdk(
        name="xai-sdk",
        module="xai_sdk",
        requires="xai-sdk >= 1.3.0",
        patcher="spanledger.instrumentation.xai_sdk:XAI_SDK",
    ),
    Sdk(
        name="litellm",
        module="litellm",
        requires="litellm >= 1.100.0",
        patcher="spanledger.instrumentation.litellm:LITELLM",
    ),
    Sdk(
        name="cohere",
        module="cohere.core.http_client",
        also=("cohere.client",),
        requires="cohere >= 5.16.0",
        patcher="spanledger.instrumentation.cohere:COHERE",
    ),
    Sdk(
        name="mistralai",
        module="mistralai.client.basesdk",
        # Version 1 has no `client` inside; the clouds' clients have copies of the same class.
        also=(
            "mistralai.basesdk",
            "mistralai.azure.client.basesdk",
            "mistralai.gcp.client.basesdk",
            "mistralai_azure.basesdk",
            "mistralai_gcp.basesdk",
        ),
        requires="mistralai >= 1.9.3",
        patcher="spanledger.instrumentation.mistralai:MISTRAL",
    ),
)
SDKS: Final[Mapping[str, Sdk]] = MappingProxyType({sdk.name: sdk for sdk in _ALL})
