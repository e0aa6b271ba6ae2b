"""What SDKs that Speakeasy generates (Mistral's, and a part of Google's) have in common: every method sends its request
through ``do_request`` of one class, and what repeats a request until it is answered is a function of their own.
"""

from __future__ import annotations

import sys
from typing import Any

from spanledger.instrumentation import _attempts as attempts
from spanledger.instrumentation._call import Call
from spanledger.instrumentation._exchanges import Exchanges
from spanledger.instrumentation._reading import fields


class Retried(Exchanges):
    """`Exchanges` whose failed attempts are noted."""

    def watch_attempts(self, home: str) -> None:
        """Patch what repeats requests in a package; older versions have it under a second name."""
        places = [sys.modules.get(f"{home}.{module}") for module in ("utils.retries", "utils")]
        for name, wrapper in (("retry", self.retry), ("retry_async", self.retry_async)):
            holders = [place for place in places if name in fields(place)]
            for place in holders:
                self.patches.wrap(place, name, wrapper)
            if not holders:
                self.missing(f"utils.retries.{name}")

    def retry(self, wrapped: Any, _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What is repeated is the first argument."""
        if self.current() is None or not args:
            return wrapped(*args, **kwargs)
        send = args[0]

        def attempt(*number: Any) -> Any:
            self.in_attempts(attempts.note_kept)
            try:
                answer = send(*number)
            except Exception as error:
                self.in_attempts(_keep_error, error)
                raise
            self.in_attempts(_keep_refusal, answer)
            return answer

        return wrapped(attempt, *args[1:], **kwargs)

    async def retry_async(self, wrapped: Any, _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.current() is None or not args:
            return await wrapped(*args, **kwargs)
        send = args[0]

        async def attempt(*number: Any) -> Any:
            self.in_attempts(attempts.note_kept)
            try:
                answer = await send(*number)
            except Exception as error:
                self.in_attempts(_keep_error, error)
                raise
            self.in_attempts(_keep_refusal, answer)
            return answer

        return await wrapped(attempt, *args[1:], **kwargs)


def _keep_error(call: Call, error: BaseException) -> None:
    attempts.keep(call, attempts.raised(error))


def _keep_refusal(call: Call, answer: Any) -> None:
    if answer.status_code >= 400:
        attempts.keep(call, attempts.refused(answer))
