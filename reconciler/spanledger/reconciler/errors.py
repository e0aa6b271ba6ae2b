"""How a sync can end badly: a state that says whose move it is, and one readable line."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Health of a connection's stream after its last pull."""

    OK = "ok"
    DEGRADED = "degraded"
    """It works in part: the provider failed, or sent lines that could not be read in full."""
    AUTH_FAILED = "auth_failed"
    """The credential is wrong, expired or revoked."""
    PERMISSION_MISSING = "permission_missing"
    """The credential is good but lacks a scope or role; the message names it."""
    RATE_LIMITED = "rate_limited"
    DELAYED_BY_PROVIDER = "delayed_by_provider"
    """The provider answers, but its data for a day that should be there is not there yet."""
    TRUNCATED = "truncated"
    """The provider cut its answer: nothing of that slice was taken over."""


class SyncError(Exception):
    """A pull failed. ``state`` is what the connection shows; the text is one line that names thing, place and mend."""

    def __init__(self, state: State, message: str) -> None:
        super().__init__(message)
        self.state = state


class RetryableSyncError(SyncError):
    """The next scheduled run may well succeed (outage, throttling, late data)."""


class PermanentSyncError(SyncError):
    """Nothing will change until somebody acts (credential, permission, configuration, unknown format)."""


class TruncatedError(PermanentSyncError):
    """The provider's answer is incomplete. The engine tries smaller slices before it gives up."""

    def __init__(self, message: str) -> None:
        super().__init__(State.TRUNCATED, message)


class ConfigError(ValueError):
    """A setting that a user gave cannot work; the text names the setting and the mend."""
