"""Groq: the results of batches, with an ordinary key. There is no API for usage or money: invoices come as files.

The endpoints and the files are OpenAI's, below ``/openai/v1``; the list has no pages (SDK ``groq`` 1.7.0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from spanledger.reconciler.connector import Connector, ConnectorSpec, Opening, SecretSetting
from spanledger.reconciler.connectors.openai_batches import OpenAIBatches
from spanledger.reconciler.http.api import Api
from spanledger.reconciler.http.auth import Auth, bearer
from spanledger.reconciler.observations import ObservationStream
from spanledger.reconciler.streams import Stream

PROVIDER: Final = "groq"
PERMISSION: Final = "an API key of the project that made the batches"


class Groq(Connector):
    """Groq's batches. No stream has bill lines."""

    spec: ClassVar = ConnectorSpec(
        name="groq",
        title="Groq",
        base_url="https://api.groq.com/openai/v1",
        own_hosts=("api.groq.com",),
        secrets=(
            SecretSetting(
                name="api_key",
                help="an ordinary key (gsk_...), to read the results of batches: exact usage of every call",
            ),
        ),
        setup=(
            "Sign in at console.groq.com and open the project that makes the batches.",
            "Open API Keys > Create API Key.",
            "Groq has no API for bills: import its invoices with `spanledger bills import --provider groq`.",
        ),
    )

    def auth(self, opening: Opening) -> Auth:
        return bearer(opening.secrets["api_key"])

    def streams(self, opening: Opening, api: Api) -> Sequence[Stream]:
        del opening, api
        return ()

    def readers(self, settings: Mapping[str, str]) -> Sequence[Stream]:
        del settings
        return ()

    def observation_streams(self, opening: Opening, api: Api) -> Sequence[ObservationStream]:
        del opening
        return (OpenAIBatches(api.auth, provider=PROVIDER, permission=PERMISSION, newest_first=False),)
