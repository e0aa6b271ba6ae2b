"""Secrets: where they come from, how they are sealed, and that they show up nowhere."""

from __future__ import annotations

import base64
import json
import logging
import os
import pickle
import sys
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote, quote_plus

import pytest
from fakes.azure import SUBSCRIPTION, TENANT, FakeCostManagement, FakeEntra
from fakes.base import Answer, answer
from fakes.google import TABLE, FakeGoogle
from fakes.openai import FakeOpenAI, cost, error

from spanledger.reconciler.errors import ConfigError
from spanledger.reconciler.secrets.envelope import Keyring, Place, keyring_from, sealed_key_id
from spanledger.reconciler.secrets.references import Resolver, check_reference
from spanledger.reconciler.secrets.secret import Redactor, Secret
from spanledger.reconciler.store import decompress

CANARY = "sk-admin-CANARY-7f3a9c"
PLACE = Place("acme", "prod", "admin_key")


def key() -> bytes:
    return os.urandom(32)


def test_a_secret_does_not_print():
    """repr, str, format, f-string, pickle."""
    secret = Secret(CANARY)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>20}", repr([secret]), "%s" % secret]  # noqa: UP031
    assert not [text for text in shown if CANARY in text]
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(secret)
    assert secret.reveal() == CANARY


def test_sealing_binds_a_secret_to_its_place():
    """The sealed form opens at its own connection only, and is different every time."""
    ring = Keyring((key(),))
    sealed = ring.seal(Secret(CANARY), PLACE)
    assert CANARY not in sealed
    assert sealed != ring.seal(Secret(CANARY), PLACE)
    assert ring.open(sealed, PLACE).reveal() == CANARY
    for other in (Place("other", "prod", "admin_key"), Place("acme", "dev", "admin_key"), Place("acme", "prod", "x")):
        with pytest.raises(ConfigError, match="belongs to another connection"):
            ring.open(sealed, other)


@pytest.mark.parametrize("field", ["kid", "dek", "ct"])
def test_a_damaged_envelope_does_not_open(field):
    """Any changed part is refused with a line that names the place, not the content."""
    ring = Keyring((key(),))
    parts = json.loads(ring.seal(Secret(CANARY), PLACE))
    blob = bytearray(base64.b64decode(parts[field])) if field != "kid" else None
    if blob is not None:
        blob[-1] ^= 1
        parts[field] = base64.b64encode(bytes(blob)).decode()
    else:
        parts[field] = "000000000000"
    with pytest.raises(ConfigError, match="connection prod, admin_key"):
        ring.open(json.dumps(parts), PLACE)


def test_rotation_rewraps_without_the_secret_and_retires_the_old_key():
    """New key first: old envelopes open; after re-wrapping the old key can go."""
    old, new = key(), key()
    sealed = Keyring((old,)).seal(Secret(CANARY), PLACE)
    both = Keyring((new, old))
    assert both.open(sealed, PLACE).reveal() == CANARY
    moved = both.rewrap(sealed, PLACE)
    assert sealed_key_id(moved) == both.current != sealed_key_id(sealed)
    assert json.loads(moved)["ct"] == json.loads(sealed)["ct"]
    assert Keyring((new,)).open(moved, PLACE).reveal() == CANARY
    with pytest.raises(ConfigError, match="not configured"):
        Keyring((new,)).open(sealed, PLACE)


def test_the_master_key_comes_from_a_file_or_the_environment(tmp_path: Path):
    """Base64 or hex, several lines; anything else is refused without repeating it."""
    first, second = key(), key()
    path = tmp_path / "keys"
    path.write_text(f"{base64.b64encode(first).decode()}\n{second.hex()}\n")
    ring = keyring_from({"SPANLEDGER_MASTER_KEY_FILE": str(path)})
    assert ring is not None
    assert ring.current == Keyring((first,)).current
    assert keyring_from({"SPANLEDGER_MASTER_KEY": second.hex()}) is not None
    assert keyring_from({}) is None
    with pytest.raises(ConfigError, match="32 bytes") as caught:
        keyring_from({"SPANLEDGER_MASTER_KEY": "c2hvcnQ="})
    assert "c2hvcnQ" not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        keyring_from({"SPANLEDGER_MASTER_KEY_FILE": str(tmp_path / "none")})


def test_references_resolve(tmp_path: Path):
    """Environment, file, systemd credential, sealed."""
    (tmp_path / "key").write_text(f"{CANARY}\n")
    ring = Keyring((key(),))
    resolver = Resolver({"KEY": f" {CANARY} ", "CREDENTIALS_DIRECTORY": str(tmp_path)}, ring)
    sealed = "sealed:" + ring.seal(Secret(CANARY), PLACE)
    for reference in ("env:KEY", f"file:{tmp_path}/key", "systemd:key", sealed):
        assert resolver.resolve(check_reference(reference), PLACE).reveal() == CANARY


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("env:NOPE", "NOPE is not set"),
        ("file:/nowhere/key", "/nowhere/key"),
        ("systemd:key", "CREDENTIALS_DIRECTORY"),
        ("sealed:{}", "no master key"),
        ("vault:x", "unknown reference"),
    ],
)
def test_references_that_do_not_resolve_say_why(reference, words):
    """One line with the reference and the connection."""
    with pytest.raises(ConfigError, match=words) as caught:
        Resolver({}).resolve(reference, PLACE)
    assert "prod" in str(caught.value)


def test_a_pasted_key_is_refused_without_being_repeated():
    """The secret itself in place of a reference."""
    with pytest.raises(ConfigError, match="do not pass the secret itself") as caught:
        check_reference(CANARY)
    assert CANARY not in str(caught.value)


def test_the_redactor_knows_every_line_of_a_key():
    """A multi-line private key is taken out line by line; short values would blank out innocent text."""
    redactor = Redactor([Secret("-----BEGIN\nAbCdEfGh\n-----END"), Secret("ab")])
    assert redactor.clean("got AbCdEfGh ab") == "got *** ab"


def test_the_redactor_knows_a_key_as_forms_and_json_spell_it():
    """Azure's secrets hold ``~`` and ``+``; a quote in a password is escaped in JSON."""
    redactor = Redactor([Secret('p+s/w~r d"1')])
    said = [quote_plus('p+s/w~r d"1'), quote('p+s/w~r d"1', safe=""), json.dumps({"got": 'p+s/w~r d"1'})]
    assert [redactor.clean(each) for each in said] == ["***", "***", '{"got": "***"}']
    assert redactor.clean_bytes(said[0].encode()) == b"***"


def test_the_canary_shows_up_nowhere(rig, caplog: pytest.LogCaptureFixture, capfd):
    """Root logging at DEBUG, a provider that echoes the key in errors, headers and bodies: no trace of it is left."""
    caplog.set_level(logging.DEBUG)
    fake = FakeOpenAI(key=CANARY)
    fake.costs[date(2026, 11, 18)] = [cost(f"{CANARY}, input", "1")]
    made = rig(fake, "openai", secrets={"admin_key": CANARY})
    fake.fail_next(error(500, f"upstream failed for {CANARY}"))
    reports = [made.sync("2026-11-18", "2026-11-19", streams=frozenset({"costs"}))["costs"]]
    fake.fail_next(error(401, f"Incorrect API key provided: {CANARY}"))
    reports.append(made.sync("2026-11-18", "2026-11-19", streams=frozenset({"costs"}))["costs"])
    raw = made.query("SELECT url, context FROM spanledger.raw_responses WHERE org_id = {org:String}")
    bodies = made.client.query(
        "SELECT body FROM spanledger.raw_bodies WHERE org_id = {org:String}",
        parameters={"org": made.org},
        column_formats={"body": "bytes"},
    ).result_rows
    runs = made.query("SELECT * FROM spanledger.sync_runs WHERE org_id = {org:String}")
    out, err = capfd.readouterr()
    everything = [repr(reports), repr(raw), repr(runs), caplog.text, out, err, repr(made.connection), repr(made.opener)]
    everything.append(repr(made.lines("line_item")))
    everything += [decompress(body).decode() for (body,) in bodies]
    assert reports[1].state.value == "auth_failed"
    assert bodies
    assert [text for text in everything if CANARY in text] == []


def test_tokens_and_client_secrets_show_up_nowhere(rig, caplog: pytest.LogCaptureFixture):
    """Entra's client secret and token, Google's private key: errors of the token endpoint included."""
    caplog.set_level(logging.DEBUG)
    entra = FakeEntra(secret="CANARY-client-secret")
    fake = FakeCostManagement(entra)
    made = rig(
        fake,
        "azure_openai",
        settings={"tenant_id": TENANT, "client_id": "app", "scope": SUBSCRIPTION},
        secrets={"client_secret": "CANARY-client-secret"},
        hosts={"login.microsoftonline.com": entra, "management.azure.com": fake},
    )
    said = "AADSTS: bad secret CANARY-client-secret"
    entra.fail_next(answer({"error": "invalid_client", "error_description": said}, 401))
    reports = [made.sync("2026-11-01", "2026-11-02")["cost"]]
    fake.fail_next(Answer(500, b"echo eyJ-token-0-management.azure.com"))
    reports.append(made.sync("2026-11-01", "2026-11-02")["cost"])
    google = FakeGoogle()
    other = rig(google, "google", settings={"table": TABLE}, secrets={"service_account_key": google.key_file}, name="g")
    google.fail_next(answer({"error": "invalid_grant", "error_description": google.key_file}, 400))
    reports.append(other.sync("2026-11-01", "2026-11-02")["cost"])
    line = json.loads(google.key_file)["private_key"].splitlines()[3]
    text = caplog.text + repr(reports)
    assert [word for word in ("CANARY-client-secret", "eyJ-token-0", line) if word in text] == []


def test_secret_managers_through_their_libraries(monkeypatch):
    """AWS by id and JSON key, Google with the latest version; a refusal names the secret, never its content."""

    class Aws:
        def get_secret_value(self, SecretId: str) -> dict[str, str]:  # noqa: N803 - AWS's own name
            if SecretId != "prod/openai":
                raise PermissionError(f"AccessDenied {CANARY}")
            return {"SecretString": json.dumps({"key": CANARY})}

    class Google:
        def access_secret_version(self, request: dict[str, str]) -> SimpleNamespace:
            assert request["name"] == "projects/p/secrets/s/versions/latest"
            return SimpleNamespace(payload=SimpleNamespace(data=CANARY.encode()))

    monkeypatch.setitem(sys.modules, "boto3", SimpleNamespace(client=lambda _: Aws()))
    manager = SimpleNamespace(SecretManagerServiceClient=Google)
    monkeypatch.setitem(sys.modules, "google.cloud.secretmanager", manager)
    resolver = Resolver({})
    assert resolver.resolve("aws-sm:prod/openai#key", PLACE).reveal() == CANARY
    assert resolver.resolve("gcp-sm:projects/p/secrets/s", PLACE).reveal() == CANARY
    for reference, words in (("aws-sm:other", "PermissionError"), ("aws-sm:prod/openai#pin", "no JSON key 'pin'")):
        with pytest.raises(ConfigError, match=words) as caught:
            resolver.resolve(reference, PLACE)
        assert CANARY not in str(caught.value)
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ConfigError, match="secret-managers"):
        resolver.resolve("aws-sm:prod/openai", PLACE)
