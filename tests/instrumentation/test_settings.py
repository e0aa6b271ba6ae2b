"""Settings from the environment: what is understood, and what is said about the rest."""

from __future__ import annotations

import pytest

from spanledger import instrumentation
from spanledger.instrumentation._settings import from_environment


def test_nothing_set() -> None:
    settings = from_environment({})
    assert not settings.capture_content
    assert settings.stream_usage
    assert settings.deferred
    assert settings.baggage
    assert settings.labels == {}
    assert settings.complaints == ()


@pytest.mark.parametrize(
    ("value", "captures"),
    [("true", True), ("SPAN_ONLY", True), ("span_and_event", True), ("event_only", False), ("no_content", False)],
)
def test_content_capture(value: str, captures: bool) -> None:
    settings = from_environment({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": value})
    assert settings.capture_content is captures


def test_labels() -> None:
    settings = from_environment(
        {"SPANLEDGER_LABELS": "team_id=search, tenant = a%20b ,", "SPANLEDGER_TEAM_ID": "ads", "SPANLEDGER_USER_ID": ""}
    )
    assert settings.labels == {"spanledger.team_id": "ads", "spanledger.label.tenant": "a b"}


def test_what_makes_no_sense_is_ignored_and_told(caplog: pytest.LogCaptureFixture) -> None:
    settings = from_environment({"SPANLEDGER_STREAM_USAGE": "perhaps", "SPANLEDGER_LABELS": "team_id"})
    assert settings.stream_usage
    assert settings.complaints == (
        "SPANLEDGER_LABELS: 'team_id' is not name=value: ignored",
        "SPANLEDGER_STREAM_USAGE='perhaps' is not one of 0, 1, false, no, off, on, true, yes: ignored",
    )
    assert len(caplog.records) == 2


def test_complaints_are_among_the_problems() -> None:
    instrumentation.instrument(environment={"SPANLEDGER_FINISH": "later"})
    try:
        assert instrumentation.problems() == ["SPANLEDGER_FINISH='later' is not one of background, inline: ignored"]
    finally:
        instrumentation.uninstrument()
