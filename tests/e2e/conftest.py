"""What the end-to-end tests start beside the server: the example application, Prometheus, a forwarding collector."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from spanledger.cli.demo.provider import FakeProvider


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def run_app(root: Path, fake_provider: FakeProvider) -> Callable[..., None]:
    """``run_app(otlp_url, token="")`` runs examples/app.py under ``opentelemetry-instrument``, OTLP over gRPC."""

    def run(otlp_url: str, token: str = "") -> None:
        instrument = Path(sys.executable).with_name("opentelemetry-instrument")
        environment = os.environ | {
            "OPENAI_BASE_URL": fake_provider.openai_url,
            "OPENAI_API_KEY": "sk-test",
            "ANTHROPIC_BASE_URL": fake_provider.url,
            "ANTHROPIC_API_KEY": "sk-test",
            "OTEL_SERVICE_NAME": "example",
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_url,
        }
        if token:
            environment["OTEL_EXPORTER_OTLP_HEADERS"] = f"authorization=Bearer%20{token}"
        command = [str(instrument), sys.executable, str(root / "examples" / "app.py")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert "Failed to export" not in done.stderr, done.stderr

    return run


@dataclass(frozen=True, slots=True)
class Account:
    """What the provider billed for one model."""

    provider: str
    calls: int
    input_tokens: int
    output_tokens: int
    cost: Decimal


@pytest.fixture
def billed(fake_provider: FakeProvider) -> Callable[[], dict[str, Account]]:
    """The fake provider's own account, by model."""

    def read() -> dict[str, Account]:
        accounts = {}
        for entry in fake_provider.books.as_json()["models"]:
            output = sum(entry["tokens"].get(name, 0) for name in ("output_text", "reasoning"))
            total = sum(entry["tokens"].values())
            accounts[entry["model"]] = Account(
                entry["provider"], entry["calls"], total - output, output, Decimal(entry["cost_usd"])
            )
        return accounts

    return read


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A real Prometheus that scrapes one target every second."""

    url: str

    def query(self, promql: str) -> dict[tuple[str, ...], float]:
        """An instant vector: label values (sorted by label name) → value."""
        parameters = urllib.parse.urlencode({"query": promql})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{parameters}", timeout=10) as answer:
            result: list[Any] = json.loads(answer.read())["data"]["result"]
        return {
            tuple(value for _, value in sorted(each["metric"].items()) if _ != "__name__"): float(each["value"][1])
            for each in result
        }


@pytest.fixture
def prometheus(tmp_path: Path, wait_for: Callable[..., Any]) -> Iterator[Callable[[str, str], Prometheus]]:
    """``prometheus(target_url, token)`` starts Debian's Prometheus; without it the test is skipped (not in CI)."""
    binary = shutil.which("prometheus")
    if binary is None:
        assert not os.environ.get("CI"), "CI installs prometheus: apt-get install prometheus"
        pytest.skip("needs prometheus: apt-get install prometheus")
    started: list[subprocess.Popen[bytes]] = []

    def start(target_url: str, token: str) -> Prometheus:
        config = tmp_path / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
            "scrape_configs:\n"
            "  - job_name: spanledger\n"
            f"    authorization: {{type: Bearer, credentials: {json.dumps(token)}}}\n"
            f"    static_configs: [{{targets: [{json.dumps(urllib.parse.urlsplit(target_url).netloc)}]}}]\n"
        )
        port = free_port()
        with (tmp_path / "prometheus.log").open("wb") as log:
            started.append(
                subprocess.Popen(
                    [
                        binary,
                        f"--config.file={config}",
                        f"--storage.tsdb.path={tmp_path / 'prometheus'}",
                        f"--web.listen-address=127.0.0.1:{port}",
                    ],
                    stdout=log,
                    stderr=log,
                )
            )
        url = f"http://127.0.0.1:{port}"

        def ready() -> bool:
            try:
                with urllib.request.urlopen(f"{url}/-/ready", timeout=2) as answer:
                    return answer.status == 200
            except OSError:
                return False

        wait_for(lambda: ready(), "Prometheus to be ready")
        return Prometheus(url)

    yield start
    for process in started:
        process.terminate()
        process.wait(10)


@pytest.fixture
def rotel(tmp_path: Path, wait_for: Callable[..., Any]) -> Iterator[Callable[[str, str], str]]:
    """``rotel(otlp_grpc_url, token)`` starts a collector that forwards there; the URL of its own OTLP/gRPC port."""
    spec = importlib.util.find_spec("rotel")
    if spec is None or spec.origin is None:
        pytest.skip("needs rotel (Linux only): pip install rotel")
    agent = Path(spec.origin).parent / "rotel-agent"
    started: list[subprocess.Popen[bytes]] = []

    def start(otlp_grpc_url: str, token: str) -> str:
        grpc_port, http_port = free_port(), free_port()
        command = [
            str(agent),
            "start",
            "--exporter=otlp",
            f"--otlp-exporter-endpoint={otlp_grpc_url}",
            "--otlp-exporter-protocol=grpc",
            f"--otlp-exporter-custom-headers=authorization=Bearer {token}",
            f"--otlp-grpc-endpoint=127.0.0.1:{grpc_port}",
            f"--otlp-http-endpoint=127.0.0.1:{http_port}",
            f"--pid-file={tmp_path / 'rotel.pid'}",
        ]
        with (tmp_path / "rotel.log").open("wb") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log))

        def listening() -> bool | None:
            try:
                socket.create_connection(("127.0.0.1", grpc_port), timeout=1).close()
            except OSError:
                return None
            return True

        wait_for(listening, "rotel to listen")
        return f"http://127.0.0.1:{grpc_port}"

    yield start
    for process in started:
        process.terminate()
        process.wait(10)
