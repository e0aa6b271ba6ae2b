"""Listeners, TLS, tokens and other commands beside a running server."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from spanledger.cli import runtime

METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@dataclass(frozen=True, slots=True)
class Party:
    """A certificate and its key, as PEM files."""

    cert: Path
    key: Path


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Party]:
    """A CA, a server for 127.0.0.1 and a client, made on the spot."""
    folder = tmp_path_factory.mktemp("pki")
    now = datetime.datetime.now(datetime.UTC)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
    parties: dict[str, Party] = {}
    for name in ("ca", "server", "client"):
        key = ca_key if name == "ca" else ec.generate_private_key(ec.SECP256R1())
        subject = ca_name if name == "ca" else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
        )
        if name == "server":
            addresses = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        certificate = builder.sign(ca_key, hashes.SHA256())
        party = Party(folder / f"{name}.crt", folder / f"{name}.key")
        party.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        party.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        parties[name] = party
    return parties


def context(pki: dict[str, Party], *, with_client: bool) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(pki["ca"].cert))
    if with_client:
        made.load_cert_chain(pki["client"].cert, pki["client"].key)
    return made


def test_start_lines_and_what_is_off(serve: Callable[..., Any]) -> None:
    served = serve("--sql=off", "--otlp-http=off")
    lines = served.log.read_text().splitlines()
    shown = {line.split()[1]: line.split()[2] for line in lines}
    assert shown["sql"] == shown["otlp-http"] == "off"
    assert shown["otlp-grpc"] == served.url("otlp-grpc")
    assert shown["http"] == served.url("http")
    assert sorted(served.running.listeners) == ["http", "otlp-grpc"]
    assert lines[-1].startswith("spanledger ready ")
    assert "readyz" not in served.get("/readyz")


def test_the_announcement_is_private_and_goes_with_the_server(serve: Callable[..., Any]) -> None:
    served = serve()
    file = served.data / runtime.FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert served.running.secret not in repr(served.running)
    assert served.stop() == 0
    assert not file.exists()


def test_the_control_listener_refuses_strangers(serve: Callable[..., Any]) -> None:
    served = serve()
    for headers in ({}, {"authorization": "Bearer guess"}, {"x-clickhouse-key": "guess"}):
        for path in ("/?query=SELECT+1", "/settle", "/otlp/v1/traces"):
            request = urllib.request.Request(served.running.control_url + path, b"", headers, method="POST")
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=10)
            assert refused.value.code in (401, 403)
            refused.value.close()


def test_a_dead_servers_announcement_is_ignored(serve: Callable[..., Any], spanledger: Callable[..., Any]) -> None:
    served = serve()
    served.kill()
    assert (served.data / runtime.FILE).exists()
    assert runtime.find(served.data) is None
    result = spanledger("query", "--data", str(served.data), "--format", "csv", "SELECT count() AS n FROM calls")
    assert result.stdout == "n\n0\n", result.stderr


def test_tls_on_every_listener(serve: Callable[..., Any], pki: dict[str, Party]) -> None:
    served = serve("--tls-cert", str(pki["server"].cert), "--tls-key", str(pki["server"].key))
    plain = context(pki, with_client=False)
    for listener, path in (("http", "/healthz"), ("sql", "/ping"), ("otlp-http", "/v1/traces")):
        url = served.url(listener) + path
        assert url.startswith("https://")
        body = b"" if path.startswith("/v1") else None
        request = urllib.request.Request(url, body, {"content-type": "application/x-protobuf"})
        with urllib.request.urlopen(request, context=plain, timeout=10) as answer:
            assert answer.status == 200
    credentials = grpc.ssl_channel_credentials(pki["ca"].cert.read_bytes())
    with grpc.secure_channel(served.url("otlp-grpc").removeprefix("https://"), credentials) as channel:
        export = channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None)
        assert export(b"", timeout=10) == b""


def test_mtls_on_one_listener(serve: Callable[..., Any], pki: dict[str, Party]) -> None:
    server, client = pki["server"], pki["client"]
    served = serve(
        *("--tls-cert", str(server.cert), "--tls-key", str(server.key)),
        *("--tls-client-ca", str(pki["ca"].cert), "--mtls-on", "otlp-grpc,sql"),
    )
    with urllib.request.urlopen(
        served.url("http") + "/healthz", context=context(pki, with_client=False), timeout=10
    ) as answer:
        assert answer.status == 200
    with pytest.raises((urllib.error.URLError, ssl.SSLError, ConnectionError)):
        urllib.request.urlopen(served.url("sql") + "/ping", context=context(pki, with_client=False), timeout=10)
    with urllib.request.urlopen(
        served.url("sql") + "/ping", context=context(pki, with_client=True), timeout=10
    ) as answer:
        assert answer.status == 200
    target = served.url("otlp-grpc").removeprefix("https://")
    ca = pki["ca"].cert.read_bytes()
    with grpc.secure_channel(target, grpc.ssl_channel_credentials(ca)) as channel, pytest.raises(grpc.RpcError):
        channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None)(b"", timeout=5)
    full = grpc.ssl_channel_credentials(ca, client.key.read_bytes(), client.cert.read_bytes())
    with grpc.secure_channel(target, full) as channel:
        assert channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None)(b"", timeout=10) == b""


def test_a_network_address_demands_a_token(
    serve: Callable[..., Any], spanledger: Callable[..., Any], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    token = spanledger("tokens", "create", "--org", "acme", "--data", str(data)).stdout.strip()
    served = serve("--http=0.0.0.0:0", data=data)
    with pytest.raises(urllib.error.HTTPError) as refused:
        served.get("/metrics")
    assert refused.value.code == 401
    refused.value.close()
    assert "spanledger_scrape_success 1.0" in served.get("/metrics", token)
    assert served.get("/healthz"), "health is for everybody"


def test_commands_write_through_the_server(serve: Callable[..., Any], spanledger: Callable[..., Any]) -> None:
    data = str(serve().data)
    made = json.loads(
        spanledger("tokens", "create", "--org", "acme", "--name", "it's", "--json", "--data", data).stdout
    )
    (listed,) = json.loads(spanledger("tokens", "list", "--json", "--data", data).stdout)
    assert (listed["id"], listed["org"], listed["name"], listed["revoked_at"]) == (made["id"], "acme", "it's", None)
    assert spanledger("tokens", "revoke", made["id"], "--data", data).returncode == 0
    (listed,) = json.loads(spanledger("tokens", "list", "--json", "--data", data).stdout)
    assert listed["revoked_at"] is not None


def test_doctor_sees_a_server(serve: Callable[..., Any], spanledger: Callable[..., Any]) -> None:
    served = serve()
    result = spanledger("doctor", "--json", "--data", str(served.data))
    assert result.returncode == 0, result.stdout
    findings = {each["subject"]: each for each in json.loads(result.stdout)}
    assert findings["server"]["what"].startswith(f"process {served.process.pid},")
    assert findings["ready"]["level"] == "ok"
    assert findings["clock"]["level"] == "ok"
    assert "is instrumented" in findings["capture"]["what"]


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["--version"]])
def test_help_needs_no_server_side(arguments: list[str]) -> None:
    """So that it answers at once: what takes long to import is imported by the command that needs it."""
    heavy = (
        "{'grpc', 'clickhouse_connect', 'chdb', 'numpy', 'pyarrow', 'starlette', 'uvicorn', 'genai_prices', 'httpx'}"
    )
    probe = (
        f"import sys\nfrom spanledger.cli.app import run\ncode = run({arguments!r})\n"
        f"sys.stderr.write(str(sorted({heavy} & set(sys.modules))))\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "[]")


def test_query_formats(serve: Callable[..., Any], spanledger: Callable[..., Any]) -> None:
    data = str(serve().data)
    sql = "SELECT toDecimal128('0.000000000001', 12) AS usd, NULL AS none, toDateTime64(0, 3, 'UTC') AS at, 'a,b' AS s"
    printed = {
        kind: spanledger("query", "--data", data, "--format", kind, sql).stdout
        for kind in ("json", "jsonl", "csv", "table")
    }
    row = {"usd": "0.000000000001", "none": None, "at": "1970-01-01T00:00:00+00:00", "s": "a,b"}
    assert json.loads(printed["json"]) == [row]
    assert json.loads(printed["jsonl"]) == row
    assert printed["csv"] == 'usd,none,at,s\n0.000000000001,,1970-01-01T00:00:00+00:00,"a,b"\n'
    assert "0.000000000001" in printed["table"]
