"""What a connector declares, and what it is given to work with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import httpx

from spanledger.reconciler.clock import Clock
from spanledger.reconciler.http.api import Api, Verdict
from spanledger.reconciler.http.auth import Auth
from spanledger.reconciler.http.messages import ApiResponse
from spanledger.reconciler.http.retry import RetryPolicy
from spanledger.reconciler.observations import ObservationStream
from spanledger.reconciler.secrets.secret import Secret
from spanledger.reconciler.streams import Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Something that a user tells about a connection. Names are ``snake_case``; options are ``--kebab-case``."""

    name: str
    help: str
    default: str = ""
    required: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSetting:
    """A secret that a connection needs: ``--<name>-env``, ``--<name>-file``, ``--<name>-ref`` or ``--<name>-stdin``."""

    name: str
    help: str
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorSpec:
    """A connector as the command line and the documentation see it.

    Attributes:
        name: as in ``connections add NAME``; also the ledger's word for the provider where there is one.
        title: the provider's name as a reader knows it.
        aliases: other names that people type.
        base_url: the default of ``--base-url``.
        own_hosts: hosts of absolute links that may be followed on the base URL.
        settings, secrets: what ``connections add`` asks for.
        requests_per_second: the connection's rate budget.
        setup: how to get a fitting key, one step per line.
    """

    name: str
    title: str
    aliases: tuple[str, ...] = ()
    base_url: str
    own_hosts: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()
    secrets: tuple[SecretSetting, ...] = ()
    requests_per_second: float = 1.0
    burst: int = 5
    setup: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a connector is opened with."""

    settings: Mapping[str, str]
    secrets: Mapping[str, Secret]
    base_url: str
    client: httpx.Client
    clock: Clock
    policy: RetryPolicy
    org_id: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """Whose data a credential reads: the provider's id and a name for people."""

    id: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class AccountObject:
    """A provider's object behind an id: ``kind`` is project, workspace, api_key or user."""

    kind: str
    id: str
    name: str
    hint: str = ""
    status: str = ""


class Connector(ABC):
    """One provider. Holds no state: everything about a connection comes in through `Opening`."""

    spec: ClassVar[ConnectorSpec]

    @abstractmethod
    def auth(self, opening: Opening) -> Auth:
        """Raises `ConfigError`: a setting or secret cannot work."""

    @abstractmethod
    def streams(self, opening: Opening, api: Api) -> Sequence[Stream]:
        """The streams of a connection. May ask the provider which of its APIs the account has. Raises `SyncError`."""

    @abstractmethod
    def readers(self, settings: Mapping[str, str]) -> Sequence[Stream]:
        """Streams that can parse what the connection has ever pulled, without asking anybody."""

    def explain(self, response: ApiResponse) -> Verdict | None:
        """Reads a failed answer in the provider's dialect; ``None`` leaves it to the general rule."""
        del response
        return None

    def identify(self, opening: Opening, api: Api) -> Account | None:
        """Whose account it is; ``None`` when the provider has no way to ask. Raises `SyncError`."""
        del opening, api
        return None

    def inventory(self, opening: Opening, api: Api) -> Sequence[AccountObject]:
        """Names for the provider's ids; empty when the provider has no list. Raises `SyncError`."""
        del opening, api
        return ()

    def observation_streams(self, opening: Opening, api: Api) -> Sequence[ObservationStream]:
        """Exact evidence about single calls that the provider hands out. Raises `SyncError`."""
        del opening, api
        return ()
