"""Secrets in stores: AWS by moto's server, the system's key store by the real package, Vault and Google's by stand-ins.

There is no Vault or OpenBao to install here, so a small server answers as its documentation of KV version 2 says; the
same for Google's REST API, with google-auth's real service account flow in front of it. All on loopback.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from headgate.core.errors import ConfigError
from headgate.settings.secret_stores import asking
from headgate.settings.secrets import SecretMissing, SecretRef, SecretUnreachable, parse_reference

VALUE = "sk-" + "ant-" + "FAKE0fake1FAKE2fake3"
OTHER = "sk-" + "proj-" + "FAKE4fake5FAKE6fake7"
TOKEN = "hvs." + "FAKEtoken0FAKEtoken1"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


class StandIn(ThreadingHTTPServer):
    """Answers what a test's `reply(method, path, headers, body) -> (status, JSON)` says."""

    daemon_threads = True

    def __init__(self, reply: Any) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply = reply
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, said = self.server.reply(self.command, self.path, headers, body)
        data = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_GET  # noqa: N815 -- the standard library's name

    def log_message(self, *_: object) -> None:
        pass


def serving(reply: Any) -> Iterator[StandIn]:
    with StandIn(reply) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ref(text: str) -> SecretRef:
    return parse_reference(text, where="headgate.yaml:1:2: here")


def refused(reference: str, env: dict[str, str], kind: type[ConfigError], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        ref(reference).resolve(env)
    assert type(caught.value) is kind
    said = str(caught.value)
    assert said.startswith("headgate.yaml:1:2: here: ")
    assert not any(secret in said for secret in (VALUE, OTHER, TOKEN))
    assert caught.value.__cause__ is None


# ---- Vault ---------------------------------------------------------------------------------------------------------


class Vault:
    """KV version 2 at secret/, version 1 at kv1/, as the HTTP API's documentation has them."""

    def __init__(self) -> None:
        self.versions: list[dict[str, Any] | None] = [{"anthropic": OTHER}, {"anthropic": VALUE, "openai": OTHER}]
        self.asked: list[dict[str, str]] = []
        self.status = 200

    def __call__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        self.asked.append(headers)
        if self.status != 200:
            return self.status, {"errors": [f"not {TOKEN}"]}
        if headers.get("x-vault-token") != TOKEN:
            return 403, {"errors": ["permission denied"]}
        url = urlsplit(path)
        if url.path == "/v1/kv1/llm":
            return 200, {"data": {"key": VALUE}, "lease_duration": 2764800}
        if url.path != "/v1/secret/data/llm":
            return 404, {"errors": []}
        number = int(parse_qs(url.query).get("version", [str(len(self.versions))])[0])
        if number > len(self.versions):
            return 404, {"errors": []}
        fields = self.versions[number - 1]
        metadata = {"created_time": "2026-01-01T00:00:00Z", "deletion_time": "", "destroyed": False, "version": number}
        if fields is None:
            return 404, {"data": {"data": None, "metadata": {**metadata, "deletion_time": "2026-02-02T00:00:00Z"}}}
        return 200, {"request_id": "x", "data": {"data": fields, "metadata": metadata}}


@pytest.fixture
def vault() -> Iterator[tuple[Vault, dict[str, str]]]:
    store = Vault()
    for server in serving(store):
        yield store, {"VAULT_ADDR": server.url, "VAULT_TOKEN": TOKEN}


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ("vault:secret/data/llm#anthropic", VALUE),
        ("vault:secret/data/llm?version=1#anthropic", OTHER),
        ("vault:secret/data/llm?version=1", OTHER),
        ("vault:kv1/llm#key", VALUE),
        ("vault:kv1/llm", VALUE),
    ],
)
def test_a_field_of_a_vault_secret_is_read_by_path_version_and_name(
    vault: tuple[Vault, dict[str, str]], reference: str, value: str
) -> None:
    assert ref(reference).resolve(vault[1]).reveal() == value


@pytest.mark.parametrize(
    ("reference", "kind", "words"),
    [
        ("vault:secret/data/none#a", SecretMissing, "is not there, or was deleted"),
        ("vault:secret/data/llm?version=9#anthropic", SecretMissing, "is not there"),
        ("vault:secret/data/llm#nope", SecretMissing, "has no field 'nope'"),
        ("vault:secret/data/llm", ConfigError, "holds 2 fields: say which one, with #field"),
    ],
)
def test_what_vault_does_not_have_is_told_by_its_place(
    vault: tuple[Vault, dict[str, str]], reference: str, kind: type[ConfigError], words: str
) -> None:
    refused(reference, vault[1], kind, words)


def test_a_deleted_vault_version_is_missing_and_not_a_store_that_is_down(vault: tuple[Vault, dict[str, str]]) -> None:
    vault[0].versions[1] = None
    refused("vault:secret/data/llm#anthropic", vault[1], SecretMissing, "is not there, or was deleted")


@pytest.mark.parametrize(
    ("status", "words"), [(403, "refused us"), (503, "answered 503"), (429, "answered 429"), (500, "answered 500")]
)
def test_a_vault_that_refuses_or_is_sealed_is_unreachable_and_its_words_are_not_repeated(
    vault: tuple[Vault, dict[str, str]], status: int, words: str
) -> None:
    vault[0].status = status
    refused("vault:secret/data/llm#anthropic", vault[1], SecretUnreachable, words)


def test_vault_is_asked_with_the_namespace_and_with_a_token_that_an_agent_renews_in_a_file(
    vault: tuple[Vault, dict[str, str]], tmp_path: Path
) -> None:
    sink = tmp_path / "token"
    env = {"BAO_ADDR": vault[1]["VAULT_ADDR"], "VAULT_NAMESPACE": "team", "VAULT_TOKEN_FILE": str(sink)}
    refused("vault:secret/data/llm#anthropic", env, SecretUnreachable, "wants a token: set VAULT_TOKEN")
    sink.write_text("old", encoding="ascii")
    refused("vault:secret/data/llm#anthropic", env, SecretUnreachable, "refused us")
    sink.write_text(TOKEN + "\n", encoding="ascii")
    assert ref("vault:secret/data/llm#anthropic").resolve(env).reveal() == VALUE
    assert vault[0].asked[-1]["x-vault-namespace"] == "team"
    assert vault[0].asked[-1]["x-vault-request"] == "true"


def test_the_token_that_vault_login_left_in_the_home_directory_is_used(
    vault: tuple[Vault, dict[str, str]], tmp_path: Path
) -> None:
    (tmp_path / ".vault-token").write_text(TOKEN, encoding="ascii")
    env = {"VAULT_ADDR": vault[1]["VAULT_ADDR"], "HOME": str(tmp_path)}
    assert ref("vault:secret/data/llm#anthropic").resolve(env).reveal() == VALUE


def test_nobody_at_vaults_address_is_unreachable() -> None:
    with StandIn(None) as server:
        closed = server.url
    env = {"VAULT_ADDR": closed, "VAULT_TOKEN": TOKEN}
    refused("vault:secret/data/llm#a", env, SecretUnreachable, "cannot be reached")
    refused("vault:secret/data/llm#a", {**env, "VAULT_ADDR": "unix:/x"}, ConfigError, "VAULT_ADDR is no")


@pytest.mark.parametrize("said", [b"<html>", {"data": [1]}, {"data": {"data": "x", "metadata": {}}}, [], b"\xff\xfe"])
def test_an_answer_that_is_no_vaults_is_unreachable_and_never_a_crash(said: Any) -> None:
    for server in serving(lambda *_: (200, said)):
        env = {"VAULT_ADDR": server.url, "VAULT_TOKEN": TOKEN}
        refused("vault:secret/data/llm#a", env, SecretUnreachable, "something else than a secret")


def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MAX_ANSWER", 1000)
    for server in serving(lambda *_: (200, b" " * 5000)):
        env = {"VAULT_ADDR": server.url, "VAULT_TOKEN": TOKEN}
        refused("vault:secret/data/llm#a", env, ConfigError, "more than 1000 bytes")


# ---- AWS: moto's server --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def aws() -> Iterator[tuple[Any, dict[str, str]]]:
    import botocore.session
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    env = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }
    client = botocore.session.Session().create_client(
        "secretsmanager",
        region_name="eu-west-1",
        endpoint_url=env["AWS_ENDPOINT_URL"],
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    yield client, env
    server.stop()


def test_an_aws_secret_is_read_whole_by_field_by_stage_and_by_arn(aws: tuple[Any, dict[str, str]]) -> None:
    client, env = aws
    made = client.create_secret(Name="prod/llm", SecretString=json.dumps({"anthropic_key": OTHER}))
    plain = client.create_secret(Name="plain", SecretString=VALUE + "\n")
    new = client.put_secret_value(SecretId="prod/llm", SecretString=json.dumps({"anthropic_key": VALUE, "n": 1}))
    found = {
        "aws-sm:prod/llm#anthropic_key": VALUE,
        "aws-sm:prod/llm?stage=AWSPREVIOUS#anthropic_key": OTHER,
        f"aws-sm:prod/llm?version={new['VersionId']}#anthropic_key": VALUE,
        f"aws-sm:{made['ARN']}#anthropic_key": VALUE,
        "aws-sm:plain": VALUE,
        f"aws-sm:{plain['ARN']}": VALUE,
    }
    assert {each: ref(each).resolve(env).reveal() for each in found} == found
    by_arn = {name: value for name, value in env.items() if name != "AWS_REGION"}
    assert ref(f"aws-sm:{plain['ARN']}").resolve(by_arn).reveal() == VALUE
    refused("aws-sm:prod/llm#nope", env, SecretMissing, "has no field 'nope'")
    refused("aws-sm:prod/llm#n", env, ConfigError, "field 'n' holds no text")
    refused("aws-sm:plain#x", env, ConfigError, "is no JSON object")


def test_an_aws_secret_that_was_never_there_or_is_marked_for_deletion_is_missing(
    aws: tuple[Any, dict[str, str]],
) -> None:
    client, env = aws
    client.create_secret(Name="gone", SecretString=VALUE)
    client.delete_secret(SecretId="gone")
    refused("aws-sm:gone", env, SecretMissing, "is not there, or was deleted")
    refused("aws-sm:never", env, SecretMissing, "is not there, or was deleted")


def test_an_aws_that_refuses_or_does_not_answer_is_unreachable() -> None:
    env = {"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "t", "AWS_SECRET_ACCESS_KEY": "t"}
    denied = {"__type": "AccessDeniedException", "Message": f"no {TOKEN}"}
    for server in serving(lambda *_: (400, denied)):
        refused("aws-sm:x", {**env, "AWS_ENDPOINT_URL": server.url}, SecretUnreachable, "refused us .AccessDenied")
        closed = server.url
    refused("aws-sm:x", {**env, "AWS_ENDPOINT_URL": closed}, SecretUnreachable, "cannot be reached")


def test_without_a_region_aws_says_how_to_give_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    env = {"AWS_ACCESS_KEY_ID": "t", "AWS_SECRET_ACCESS_KEY": "t"}
    refused("aws-sm:x", env, ConfigError, "set AWS_REGION, or refer to the secret by its ARN")


# ---- Google Cloud --------------------------------------------------------------------------------------------------


class Google:
    """The token endpoint, and versions:access as the REST reference has it."""

    def __init__(self) -> None:
        self.texts = {"projects/p/secrets/llm/versions/latest": VALUE, "projects/p/secrets/llm/versions/1": OTHER}
        self.texts["projects/p/secrets/j/versions/latest"] = json.dumps({"openai": OTHER})
        self.refuse_token = False

    def __call__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        if path == "/token":
            if self.refuse_token:
                return 400, {"error": "invalid_grant", "error_description": TOKEN}
            assert parse_qs(body.decode())["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
            return 200, {"access_token": "ya29." + "FAKE", "expires_in": 3599, "token_type": "Bearer"}
        if headers.get("authorization") != "Bearer ya29." + "FAKE":
            return 401, {"error": {"code": 401, "status": "UNAUTHENTICATED"}}
        name = path.removeprefix("/v1/").removesuffix(":access")
        if name.endswith("/disabled"):
            said = f"Secret Version [{name}] is in DISABLED state."
            return 400, {"error": {"code": 400, "message": said, "status": "FAILED_PRECONDITION"}}
        if name.startswith("projects/theirs"):
            return 403, {"error": {"code": 403, "status": "PERMISSION_DENIED"}}
        if name not in self.texts:
            return 404, {"error": {"code": 404, "status": "NOT_FOUND"}}
        return 200, {"name": name, "payload": {"data": base64.b64encode(self.texts[name].encode()).decode()}}


@pytest.fixture(scope="module")
def private_key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return made.private_bytes(serialization.Encoding.PEM, form, plain).decode()


@pytest.fixture
def google(
    tmp_path: Path, private_key: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Google, dict[str, str]]]:
    store = Google()
    for server in serving(store):
        account = {
            "type": "service_account",
            "client_email": "headgate@p.iam.example",
            "private_key": private_key,
            "token_uri": f"{server.url}/token",
        }
        path = tmp_path / "account.json"
        path.write_text(json.dumps(account), encoding="utf-8")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
        yield store, {"CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER": server.url + "/"}


def test_a_google_secret_is_read_by_version_latest_unless_told_and_by_field(
    google: tuple[Google, dict[str, str]],
) -> None:
    found = {
        "gcp-sm:projects/p/secrets/llm/versions/latest": VALUE,
        "gcp-sm:projects/p/secrets/llm": VALUE,
        "gcp-sm:projects/p/secrets/llm/versions/1": OTHER,
        "gcp-sm:projects/p/secrets/j#openai": OTHER,
    }
    assert {each: ref(each).resolve(google[1]).reveal() for each in found} == found


@pytest.mark.parametrize(
    ("reference", "kind", "words"),
    [
        ("gcp-sm:projects/p/secrets/none", SecretMissing, "is not there, or was deleted"),
        ("gcp-sm:projects/p/secrets/llm/versions/disabled", SecretMissing, "has been disabled or destroyed"),
        ("gcp-sm:projects/p/secrets/j#nope", SecretMissing, "has no field"),
        ("gcp-sm:projects/theirs/secrets/x", SecretUnreachable, "refused us .403."),
    ],
)
def test_what_google_does_not_give_is_missing_or_refused(
    google: tuple[Google, dict[str, str]], reference: str, kind: type[ConfigError], words: str
) -> None:
    refused(reference, google[1], kind, words)


def test_google_credentials_that_are_refused_or_missing_make_the_store_unreachable(
    google: tuple[Google, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, env = google
    store.refuse_token = True
    refused("gcp-sm:projects/p/secrets/llm", env, SecretUnreachable, "refused our credentials")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    refused("gcp-sm:projects/p/secrets/llm", env, SecretUnreachable, "set GOOGLE_APPLICATION_CREDENTIALS")


def test_a_regional_google_secret_is_asked_for_at_its_region() -> None:
    from headgate.settings.secret_stores.gcp import _address
    from headgate.settings.secret_stores.places import parse_place

    here = parse_place("gcp-sm", "projects/p/locations/europe-west1/secrets/s")
    assert _address(here, {}) == "https://secretmanager.europe-west1.rep.googleapis.com"
    assert _address(parse_place("gcp-sm", "projects/p/secrets/s"), {}) == "https://secretmanager.googleapis.com"


# ---- the operating system's key store ------------------------------------------------------------------------------


@pytest.fixture
def keyring(tmp_path: Path) -> Iterator[Any]:
    import keyring
    from keyrings.alt.file import PlaintextKeyring

    before = keyring.get_keyring()
    backend = PlaintextKeyring()
    backend.file_path = str(tmp_path / "ring.cfg")
    keyring.set_keyring(backend)
    yield keyring
    keyring.set_keyring(before)


def test_a_password_of_the_systems_key_store_is_read_by_service_and_user(keyring: Any) -> None:
    keyring.set_password("headgate", "anthropic", VALUE)
    keyring.set_password("team/llm", "openai", OTHER)
    assert ref("keyring:headgate/anthropic").resolve({}).reveal() == VALUE
    assert ref("keyring:team/llm/openai").resolve({}).reveal() == OTHER
    keyring.delete_password("headgate", "anthropic")
    refused("keyring:headgate/anthropic", {}, SecretMissing, "is not there")


def test_a_key_store_that_is_missing_locked_or_broken_is_unreachable(keyring: Any) -> None:
    import keyring.backends.fail
    import keyring.errors

    class Broken(keyring.backend.KeyringBackend):  # type: ignore[misc]  # keyring's base is untyped here
        priority = 0
        error: Exception

        def get_password(self, service: str, username: str) -> str | None:
            raise self.error

        def set_password(self, service: str, username: str, password: str) -> None:
            raise self.error

    keyring.set_keyring(keyring.backends.fail.Keyring())
    refused("keyring:a/b", {}, SecretUnreachable, "found no key store")
    backend = Broken()
    keyring.set_keyring(backend)
    backend.error = keyring.errors.KeyringLocked(VALUE)
    refused("keyring:a/b", {}, SecretUnreachable, "is locked")
    backend.error = RuntimeError(VALUE)
    refused("keyring:a/b", {}, SecretUnreachable, "failed .RuntimeError.")


# ---- all of them ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "missing", "extra"),
    [
        ("aws-sm:x", "botocore.exceptions", "aws"),
        ("gcp-sm:projects/p/secrets/s", "google.auth", "gcp"),
        ("keyring:a/b", "keyring", "keyring"),
    ],
)
def test_without_its_package_a_reference_names_the_extra_to_install(
    monkeypatch: pytest.MonkeyPatch, reference: str, missing: str, extra: str
) -> None:
    def without(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(asking, "import_module", without)
    refused(reference, {}, ConfigError, rf"not installed: pip install 'headgate\[{extra}\]'")


@pytest.mark.parametrize(
    "text",
    [
        "vault:secret",
        "vault:secret/../sys/raw#x",
        "vault:secret/data/llm?x=1",
        "vault:secret/data/llm?version=x",
        "vault:secret/data/llm?version=1&version=2",
        "vault:secret/data/llm#",
        "aws-sm:a b",
        "aws-sm:a?stage=",
        "aws-sm:arn:aws:s3:::bucket",
        "gcp-sm:llm",
        "gcp-sm:projects/p/secrets/s?version=1",
        "gcp-sm:projects/p/secrets/s/versions/1/x",
        "keyring:service",
        "keyring:service/",
        "keyring:/user",
    ],
)
def test_a_name_that_the_store_cannot_mean_is_refused_when_the_configuration_is_read(text: str) -> None:
    with pytest.raises(ValueError, match=text.partition(":")[0]):
        parse_reference(text)


@pytest.mark.parametrize("value", ["a\nb", " ", "x\x00"])
def test_what_no_header_can_carry_is_no_secret(value: str) -> None:
    for server in serving(lambda *_: (200, {"data": {"k": value}})):
        env = {"VAULT_ADDR": server.url, "VAULT_TOKEN": TOKEN}
        with pytest.raises(ConfigError, match=r"is not set or empty|control characters"):
            ref("vault:kv/x").resolve(env)
