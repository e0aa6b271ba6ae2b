"""A fake OpenAI and Anthropic server for trying things out: no account, no network, no cost.

    python examples/fake_provider.py --port 8090 &
    export OPENAI_BASE_URL=http://127.0.0.1:8090/v1 OPENAI_API_KEY=fake
    export ANTHROPIC_BASE_URL=http://127.0.0.1:8090 ANTHROPIC_API_KEY=fake
    python examples/app.py
    curl -s http://127.0.0.1:8090/_books        # what it would have charged, to the last digit

In tests: ``with FakeProvider(seed=1) as provider: OpenAI(base_url=provider.openai_url, api_key="fake")`` and
``provider.books.total()``.
"""

from __future__ import annotations

import argparse
import contextlib
import threading

from spanledger.cli.demo.books import BilledCall, Books
from spanledger.cli.demo.provider import FakeProvider

__all__ = ["BilledCall", "Books", "FakeProvider", "main"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8090, help="port on 127.0.0.1; 0 takes a free one (default 8090)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same answers (default 1)")
    options = parser.parse_args()
    with FakeProvider(seed=options.seed, port=options.port) as provider:
        print(f"fake provider on {provider.url} (books: {provider.url}/_books); Ctrl-C stops it", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
