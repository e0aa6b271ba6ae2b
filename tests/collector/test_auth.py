"""Tokens: the org comes from nowhere else, revocation works soon, and an outage of the token store is survived."""

from __future__ import annotations

import pytest

from spanledger.collector.auth import Authenticator
from spanledger.collector.binding import check_bindable, is_loopback, token_required
from spanledger.collector.errors import StartupError, UnauthenticatedError, UnavailableError


class Tokens:
    """A token store with a switch for its outage and a count of questions."""

    def __init__(self) -> None:
        self.orgs = {"slt_a": "acme"}
        self.asked = 0
        self.broken = False

    def verify(self, token: str, /) -> str | None:
        self.asked += 1
        if self.broken:
            raise ConnectionError("away")
        return self.orgs.get(token)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authenticator(tokens: Tokens, clock: Clock) -> Authenticator:
    return Authenticator(tokens, required=True, fresh_seconds=2, stale_seconds=100, clock=clock)


@pytest.mark.parametrize("header", ["Bearer slt_a", "bearer slt_a", "BEARER   slt_a "])
def test_a_good_token_names_its_org(authenticator: Authenticator, header: str) -> None:
    """The scheme's case does not matter (RFC 9110 11.1)."""
    assert authenticator.org_of(header) == "acme"


@pytest.mark.parametrize("header", ["", "slt_a", "Bearer", "Bearer ", "Basic slt_a", "Bearer slt_b", "Bearer \udcff"])
def test_anything_else_is_refused(authenticator: Authenticator, header: str) -> None:
    """One readable line, which never repeats the token."""
    with pytest.raises(UnauthenticatedError) as caught:
        authenticator.org_of(header)
    assert "slt_" not in str(caught.value)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer "])
def test_where_no_token_is_needed_an_empty_one_is_none(header: str) -> None:
    """Configuration templates send an empty token where the variable is not set."""
    assert Authenticator(None, required=False).org_of(header) == "default"


def test_the_store_is_not_asked_for_each_request(authenticator: Authenticator, tokens: Tokens, clock: Clock) -> None:
    """Once in a while is enough, also for tokens that are wrong."""
    for _ in range(5):
        authenticator.org_of("Bearer slt_a")
        with pytest.raises(UnauthenticatedError):
            authenticator.org_of("Bearer slt_wrong")
    assert tokens.asked == 2
    clock.now += 3
    authenticator.org_of("Bearer slt_a")
    assert tokens.asked == 3


def test_a_revoked_token_stops_working_soon(authenticator: Authenticator, tokens: Tokens, clock: Clock) -> None:
    """After at most `fresh_seconds`; a new one works as soon."""
    authenticator.org_of("Bearer slt_a")
    with pytest.raises(UnauthenticatedError):
        authenticator.org_of("Bearer slt_new")
    tokens.orgs = {"slt_new": "acme"}
    clock.now += 3
    with pytest.raises(UnauthenticatedError):
        authenticator.org_of("Bearer slt_a")
    assert authenticator.org_of("Bearer slt_new") == "acme"


def test_an_outage_of_the_token_store(authenticator: Authenticator, tokens: Tokens, clock: Clock) -> None:
    """Tokens that were good stay good for a while; unknown ones are told to come back."""
    authenticator.org_of("Bearer slt_a")
    with pytest.raises(UnauthenticatedError):
        authenticator.org_of("Bearer slt_wrong")
    tokens.broken = True
    clock.now += 50
    assert authenticator.org_of("Bearer slt_a") == "acme"
    for header in ("Bearer slt_wrong", "Bearer slt_new"):
        with pytest.raises(UnavailableError, match="cannot be checked right now"):
            authenticator.org_of(header)
    clock.now += 51
    with pytest.raises(UnavailableError):
        authenticator.org_of("Bearer slt_a")


def test_memory_for_tokens_is_bounded(authenticator: Authenticator) -> None:
    """A guesser cannot fill it."""
    for number in range(10_000):
        with pytest.raises(UnauthenticatedError):
            authenticator.org_of(f"Bearer guess{number}")
    assert len(authenticator._known) <= 4096


# --- where to listen


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "[::1]", "localhost", "LOCALHOST", "unix:/run/x"])
def test_loopback_needs_no_token(host: str) -> None:
    """Whoever can reach it is on this machine."""
    assert is_loopback(host)
    assert not token_required("--otlp-grpc", host, any_tokens=False, insecure_no_auth=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", "localhost.example.com", ""])
def test_other_addresses_demand_tokens(host: str) -> None:
    """Without any token they refuse to start, in one line that names the mends; never open by accident."""
    assert token_required("--otlp-grpc", host, any_tokens=True, insecure_no_auth=False)
    assert not token_required("--otlp-grpc", host, any_tokens=False, insecure_no_auth=True)
    with pytest.raises(StartupError) as caught:
        token_required("--otlp-grpc", host, any_tokens=False, insecure_no_auth=False)
    line = str(caught.value)
    assert "\n" not in line
    for part in (f"--otlp-grpc {host}", "spanledger tokens create", "--insecure-no-auth"):
        assert part in line


@pytest.mark.parametrize(
    ("host", "port", "line"),
    [
        ("no-such-host.invalid", 4317, "the host name cannot be resolved"),
        ("127.0.0.1", 70_000, "ports go from 0 to 65535"),
        ("192.0.2.1", 4317, "this machine does not have that address"),
    ],
)
def test_addresses_that_cannot_be_listened_on(host: str, port: int, line: str) -> None:
    """The line names the option, the address and the reason."""
    with pytest.raises(StartupError, match=f"--otlp-http {host}:{port}: {line}"):
        check_bindable("--otlp-http", host, port)
