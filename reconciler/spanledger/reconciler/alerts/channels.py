"""Messages to Slack, e-mail, webhooks and everything else that Apprise knows.

A channel is a reference (``env:SLACK_URL``) to an Apprise URL: ``slack://…``, ``mailto://…``, ``json://host/path`` for
a webhook; an ``https://`` address that Apprise does not know as a service is a webhook, too. The URL is a secret: it is
resolved when a message goes out, and stands in no log, error or store.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Protocol

from spanledger.reconciler.alerts.standing import Severity
from spanledger.reconciler.errors import ConfigError
from spanledger.reconciler.secrets.envelope import Place
from spanledger.reconciler.secrets.references import Resolver
from spanledger.reconciler.secrets.secret import Redactor, Secret

_TYPES: Final = {Severity.WARNING.value: "warning", Severity.CRITICAL.value: "failure"}
_LOGGERS: Final = ("apprise", "urllib3")
_HOST: Final = re.compile(r"://(?:[^/@]*@)?([^/:?#]+)")


@dataclass(frozen=True, slots=True)
class Message:
    """What to tell: plain text; ``severity`` is ``""`` for good news."""

    title: str
    text: str
    severity: str = ""


class Channels(Protocol):
    """Takes messages."""

    def send(self, reference: str, message: Message) -> str | None:
        """Deliver to one channel; returns why it failed, in one line without secrets, or ``None``. Never raises."""
        ...


@dataclass(frozen=True, slots=True)
class _NotifyPlace(Place):
    def __str__(self) -> str:
        return "[alerts] notify"


_PLACE: Final = _NotifyPlace("", "alerts", "notify")


class AppriseChannels:
    """Delivers through Apprise; one instance for one thread."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def send(self, reference: str, message: Message) -> str | None:
        """Deliver one message; see `Channels`."""
        try:
            url = self._resolver.resolve(reference, _PLACE)
        except ConfigError as error:
            return str(error)
        redactor = _redactor(url)
        try:
            with _heard() as said:
                service = _service(url)
                if service is None:
                    return (
                        f"{reference} holds no URL that Apprise understands: slack://…, mailto://…, or "
                        "json://host/path for a webhook (github.com/caronc/apprise lists all)"
                    )
                # A message without a body is refused by some services.
                body = message.text or message.title
                kind = _TYPES.get(message.severity, "success")
                is_sent = service.notify(body=body, title=message.title, notify_type=kind, body_format="text")
        except Exception as error:  # noqa: BLE001 - a foreign library's boundary: one channel must not stop the others
            return redactor.clean(f"{reference}: {type(error).__name__}: {error}")
        if is_sent:
            return None
        reason = " ".join(said.getvalue().split()) or "the service did not take it"
        return redactor.clean(f"{reference}: {reason}")


def _service(url: Secret) -> Any:
    """The channel behind a URL, ``None`` when nothing is."""
    with warnings.catch_warnings():
        # Apprise loads every service it has, and some of them use what Python has deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        apprise: Any = import_module("apprise")
        given = url.reveal()
        found = apprise.Apprise.instantiate(given, suppress_exceptions=True)
        if found is None and given.startswith(("http://", "https://")):
            found = apprise.Apprise.instantiate("json" + given.removeprefix("http"), suppress_exceptions=True)
        return found


def _redactor(url: Secret) -> Redactor:
    """Knows the URL and each of its parts that could be a key; the host is no secret."""
    text = url.reveal()
    host = _HOST.search(text)
    parts = [part for part in re.split(r"[/:@?&=#]+", text) if part != (host[1] if host else "")]
    return Redactor(Secret(part) for part in [text, *parts])


@contextmanager
def _heard() -> Generator[io.StringIO]:
    """What Apprise warns of, instead of its own lines in the log: those of urllib3 at debug level hold whole URLs."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
        logger.propagate = False
        logger.addHandler(handler)
    try:
        yield said
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
