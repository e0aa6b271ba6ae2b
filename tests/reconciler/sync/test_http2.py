"""HTTP/2 where it is served, and its library's talkative log."""

from __future__ import annotations

import datetime
import ipaddress
import logging
import socket
import ssl
import threading
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from spanledger.reconciler.opening import plain_client

CANARY = "sk-admin-CANARY-7f3a9c"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Key and self-signed certificate of 127.0.0.1 in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path / "certificate.pem"
    path.write_bytes(pem + made.public_bytes(serialization.Encoding.PEM))
    return path


def answer_one(listener: socket.socket, context: ssl.SSLContext, heard: list[dict[str, str]]) -> None:
    """One connection that speaks HTTP/2 only; every request is answered with ``{}``."""
    plain, _ = listener.accept()
    with context.wrap_socket(plain, server_side=True) as connection:
        speech = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        speech.initiate_connection()
        connection.sendall(speech.data_to_send())
        while data := connection.recv(65535):
            for event in speech.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    heard.append(dict(event.headers))
                    speech.send_headers(event.stream_id, [(":status", "200"), ("content-type", "application/json")])
                    speech.send_data(event.stream_id, b"{}", end_stream=True)
            connection.sendall(speech.data_to_send())


def test_http2_is_spoken_and_its_log_does_not_show_the_key(certificate, monkeypatch, caplog):
    """The root logger at DEBUG: the credential arrives, and stands in no line."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["h2"])
    heard: list[dict[str, str]] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer_one, args=(listener, context, heard), daemon=True)
        thread.start()
        with plain_client() as client:
            url = f"https://127.0.0.1:{listener.getsockname()[1]}/v1/organization/costs"
            answer = client.get(url, headers={"authorization": f"Bearer {CANARY}"})
        thread.join(20)
    assert (answer.http_version, answer.json()) == ("HTTP/2", {})
    assert [each["authorization"] for each in heard] == [f"Bearer {CANARY}"]
    assert caplog.text
    assert CANARY not in caplog.text
