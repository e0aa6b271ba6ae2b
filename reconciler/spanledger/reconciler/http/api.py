"""One provider's API as a connection sees it: send a request, get a complete answer or one readable error."""

from __future__ import annotations

import html
import os
import random
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from spanledger.reconciler.clock import Clock
from spanledger.reconciler.documents import load, maybe_obj, text
from spanledger.reconciler.errors import PermanentSyncError, RetryableSyncError, State, SyncError
from spanledger.reconciler.http.auth import Auth
from spanledger.reconciler.http.budget import Breaker, Budget
from spanledger.reconciler.http.messages import ApiRequest, ApiResponse
from spanledger.reconciler.http.retry import RetryPolicy, asked_wait, asks_to_retry, http_date
from spanledger.reconciler.secrets.secret import Redactor

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 3
_MAX_EXCERPT = 300
_MAX_PAGE = 4096
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.I | re.S)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A provider's own reading of a failed answer: the state, whether to try again, and what to tell the user."""

    state: State
    retry: bool
    message: str


Explain = Callable[[ApiResponse], Verdict | None]
"""Reads a failed answer in the provider's dialect; ``None`` leaves it to the general rule."""


def no_explanation(response: ApiResponse) -> None:
    """For providers whose errors need no special reading."""
    del response


@dataclass(slots=True)
class Traffic:
    """What a sync did on the wire."""

    requests: int = 0
    retries: int = 0
    bytes: int = 0
    clock_skew_seconds: float = 0.0
    """Server's clock minus ours, from the last ``Date`` header."""

    def snapshot(self) -> Traffic:
        return replace(self)

    def since(self, before: Traffic) -> Traffic:
        """What happened after ``before`` was taken."""
        return Traffic(
            self.requests - before.requests,
            self.retries - before.retries,
            self.bytes - before.bytes,
            self.clock_skew_seconds,
        )


@dataclass(slots=True, kw_only=True)
class Api:
    """Sends requests of one connection.

    Everything that a request needs is passed in; nothing is shared between connections. Not thread-safe except for
    the budget and the breaker.
    """

    client: httpx.Client
    base_url: str
    auth: Auth
    budget: Budget
    breaker: Breaker
    clock: Clock
    redactor: Redactor
    name: str
    """The provider's name as a reader knows it, for messages."""
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    explain: Explain = no_explanation
    user_agent: str = "spanledger"
    own_hosts: tuple[str, ...] = ()
    """The provider's usual hosts: absolute links to them are followed on our base URL (a gateway stands in between)."""
    rng: random.Random = field(default_factory=random.Random)
    traffic: Traffic = field(default_factory=Traffic)

    def send(self, request: ApiRequest) -> ApiResponse:
        """Send until there is a complete 2xx answer.

        Raises:
            PermanentSyncError: refused (credential, permission, bad request); trying again cannot help.
            RetryableSyncError: still failing after all retries, or asked to wait longer than is sensible.
        """
        self.breaker.check()
        attempt, refreshed = 1, False
        while True:
            failure: SyncError
            wait: float | None = None
            try:
                response = self._once(request)
            except httpx.HTTPError as error:
                failure = RetryableSyncError(State.DEGRADED, f"{self.name} cannot be reached: {self._clean(error)}")
            else:
                if isinstance(response, SyncError):
                    failure = response
                elif 200 <= response.status < 300:
                    self.breaker.succeeded()
                    return response
                elif response.status == 401 and not refreshed and self.auth.refresh():
                    refreshed = True
                    continue
                else:
                    failure = self._failure(response)
                    wait = asked_wait(response.headers, self.clock.now())
            if isinstance(failure, PermanentSyncError):
                self.breaker.succeeded()
                raise failure
            if attempt >= self.policy.attempts:
                self.breaker.gave_up()
                raise failure
            if wait is not None and wait > self.policy.patience:
                self.budget.pause(wait)
                raise RetryableSyncError(
                    State.RATE_LIMITED, f"{self.name} asks to wait {wait:.0f} s; the next scheduled run will try again"
                )
            if wait is not None:
                self.budget.pause(wait)
            self.clock.sleep(self.policy.backoff(attempt, self.rng) if wait is None else wait)
            self.traffic.retries += 1
            attempt += 1

    def _once(self, request: ApiRequest) -> ApiResponse | SyncError:
        """One attempt, redirects included. Returns the retryable error of a broken body instead of raising it."""
        if (left := self.budget.paused()) > self.policy.patience:
            raise RetryableSyncError(
                State.RATE_LIMITED, f"{self.name} asked us to wait; {left:.0f} s of it are left, then runs try again"
            )
        self.budget.acquire()
        url, with_credential = self._url(request.path), True
        params: list[tuple[str, str | int | float | bool | None]] = [*request.params]
        for _ in range(_MAX_REDIRECTS + 1):
            outgoing = self.client.build_request(
                request.method,
                url,
                params=params or None,
                json=request.json,
                data=request.form,
                content=request.content,
                headers={"user-agent": self.user_agent, "accept": "application/json", **request.headers},
            )
            if with_credential:
                self.auth.apply(outgoing)
            incoming = self.client.send(outgoing, follow_redirects=False, stream=True)
            self.traffic.requests += 1
            try:
                file = self._save(incoming) if request.reads == "file" and incoming.is_success else None
                if file is None:
                    self.traffic.bytes += len(incoming.read())
            finally:
                incoming.close()
            headers = {name.lower(): value for name, value in incoming.headers.items()}
            self._watch_clock(headers)
            if incoming.status_code not in _REDIRECTS or "location" not in headers:
                return self._complete(request, outgoing, incoming, headers, file)
            target = outgoing.url.join(headers["location"])
            if not same_origin(outgoing.url, target):
                # The credential stays at home; so does a body that may hold one.
                if request.method != "GET" or target.scheme != "https":
                    raise PermanentSyncError(
                        State.DEGRADED,
                        f"{self.name} redirected a {request.method} request to another host ({target.host}); "
                        "not followed: set --base-url to the right address",
                    )
                with_credential = False
            url, params = str(target), []
        raise PermanentSyncError(State.DEGRADED, f"{self.name} redirects in a circle at {request.path}")

    def _complete(
        self,
        request: ApiRequest,
        outgoing: httpx.Request,
        incoming: httpx.Response,
        headers: Mapping[str, str],
        file: Path | None,
    ) -> ApiResponse | SyncError:
        document: Any = None
        # A provider that echoes the credential must not get it into kept copies or lines.
        body = b"" if file is not None else self.redactor.clean_bytes(incoming.content)
        if body and (request.reads == "json" or not incoming.is_success):
            try:
                document = load(body)
            except ValueError:
                if incoming.is_success:
                    return RetryableSyncError(
                        State.DEGRADED,
                        f"{self.name} sent a body that is not JSON (cut off?) for {request.path}, {len(body)} bytes",
                    )
        return ApiResponse(
            request=request,
            url=self.redactor.clean(str(outgoing.url)),
            status=incoming.status_code,
            headers=headers,
            body=body,
            document=document,
            fetched_at=self.clock.now(),
            file=file,
        )

    def _save(self, incoming: httpx.Response) -> Path:
        """The body in a temporary file: exports of clouds are larger than memory should be."""
        descriptor, name = tempfile.mkstemp(prefix="spanledger-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                for chunk in incoming.iter_bytes():
                    file.write(chunk)
                    self.traffic.bytes += len(chunk)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return Path(name)

    def _url(self, path: str) -> str:
        """The absolute URL of a path or link; links may not lead the credential to another host."""
        if path.startswith("/"):
            return self.base_url.rstrip("/") + path
        link, base = urlsplit(path), urlsplit(self.base_url)
        if (link.scheme, link.netloc) == (base.scheme, base.netloc):
            return path
        if link.hostname in self.own_hosts:
            return urlunsplit((base.scheme, base.netloc, base.path.rstrip("/") + link.path, link.query, ""))
        raise PermanentSyncError(
            State.DEGRADED, f"{self.name} sent a link to another host ({link.hostname}); not followed"
        )

    def _failure(self, response: ApiResponse) -> SyncError:
        verdict = self.explain(response) or self._general(response)
        kind = RetryableSyncError if verdict.retry else PermanentSyncError
        return kind(verdict.state, self._clean(verdict.message))

    def _general(self, response: ApiResponse) -> Verdict:
        said = excerpt(response)
        need = response.request.permission
        if response.status == 401:
            return Verdict(State.AUTH_FAILED, False, f"{self.name} refused the credential (401): {said}")
        if response.status == 403:
            hint = f"; it needs {need}" if need else ""
            return Verdict(
                State.PERMISSION_MISSING, False, f"{self.name} refused {response.request.path} (403){hint}: {said}"
            )
        retry = asks_to_retry(response.status, response.headers)
        if response.status == 429:
            return Verdict(State.RATE_LIMITED, retry, f"{self.name} is throttling us (429): {said}")
        return Verdict(
            State.DEGRADED, retry, f"{self.name} answered {response.status} to {response.request.path}: {said}"
        )

    def _watch_clock(self, headers: Mapping[str, str]) -> None:
        server = http_date(headers.get("date", ""))
        if server is not None:
            self.traffic.clock_skew_seconds = (server - self.clock.now()).total_seconds()

    def _clean(self, said: object) -> str:
        return self.redactor.clean(" ".join(str(said).split()))


def excerpt(response: ApiResponse) -> str:
    """The provider's own words on a failed request, one line, shortened."""
    body = maybe_obj(response.document)
    error = body.get("error")
    said = text(
        maybe_obj(error).get("message")
        or (error if isinstance(error, str) else "")
        or body.get("message")
        or body.get("error_description")
        or body.get("Message")
    )
    if not said:
        said = response.body[:_MAX_PAGE].decode("utf-8", "replace")
        if said.lstrip().lower().startswith(("<!doctype html", "<html")):
            said = _title(said)
    said = " ".join(said.split())
    return said[:_MAX_EXCERPT] or "no further words"


def _title(page: str) -> str:
    """What an error page of a gateway says in short: its title."""
    match = _TITLE.search(page)
    return f"a web page, {html.unescape(match[1]).strip()!r}" if match else "a web page"


def same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    """Whether scheme, host and port agree."""
    return (one.scheme, one.host, _port(one)) == (other.scheme, other.host, _port(other))


def _port(url: httpx.URL) -> int | None:
    return url.port or {"https": 443, "http": 80}.get(url.scheme)
