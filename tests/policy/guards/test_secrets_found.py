"""What `find_secrets` finds, what it takes for a placeholder, and how it looks at text that grows.

Every secret here is made up, and put together from pieces so that scanners of repositories stay quiet.
"""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.policy.guards import secrets_structures
from headgate.policy.guards.secret_shapes import entropy
from headgate.policy.guards.secrets import SECRET_KINDS, find_secrets, tail_start
from headgate.policy.guards.spans_resolved import SEEN_BACK

R = "fA9kQ2xW7vLr3TbY8mZc1HdJ5nPs4GuE6oKi0RqVtXwBjCyNlMzDeFhSgUaIpO2k9" * 3
"""Characters that look drawn."""
HEX = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
UP = "Q3SAX34QA7ZQHZU2"


def pem(kind: str = "RSA ") -> str:
    body = "\n".join(R[n : n + 64] for n in range(0, 128, 64))
    return f"-----BEGIN {kind}PRIVATE" + f" KEY-----\n{body}\n-----END {kind}PRIVATE" + " KEY-----"


def jwt() -> str:
    parts = [
        base64.urlsafe_b64encode(part).rstrip(b"=").decode()
        for part in (b'{"alg":"HS256","typ":"JWT"}', b'{"sub":"4969811090"}')
    ]
    return ".".join([*parts, R[:43]])


KEYS = [
    ("anthropic_key", "sk-" + "ant-api03-" + R[:95]),
    ("openrouter_key", "sk-" + "or-v1-" + HEX),
    ("openai_key", "sk-" + "proj-" + R[:120]),
    ("openai_key", "sk-" + R[:48]),
    ("headgate_key", "hg-" + "abcd1234-" + R[:32]),
    ("aws_access_key", "AK" + "IA" + UP),
    ("github_token", "gh" + "p_" + R[:36]),
    ("github_token", "github_" + "pat_" + R[:22] + "_" + R[:59]),
    ("gitlab_token", "gl" + "pat-" + R[:20]),
    ("slack_token", "xo" + "xb-233595380389-2547126945324-" + R[:24]),
    ("slack_webhook", "https://hooks.slack" + ".com/services/T1UOUG2TQVJ/BT0K2U24W1O/" + R[:24]),
    ("discord_webhook", "https://discord" + ".com/api/webhooks/123456789012345678/" + R[:60]),
    ("stripe_key", "sk_" + "live_" + R[:24]),
    ("stripe_key", "rk_" + "live_" + R[:24]),
    ("gcp_api_key", "AI" + "za" + R[:35]),
    ("google_oauth", "GOC" + "SPX-" + R[:28]),
    ("twilio_key", "S" + "K" + HEX[:32]),
    ("sendgrid_key", "S" + "G." + R[:22] + "." + R[:43]),
    ("npm_token", "npm" + "_" + R[:36]),
    ("pypi_token", "pypi" + "-AgEIcHlwaS5vcmc" + R[:70]),
    ("huggingface_token", "h" + "f_" + R[:34]),
    ("databricks_token", "da" + "pi" + HEX[:32]),
    ("digitalocean_token", "dop" + "_v1_" + HEX),
    ("mailgun_key", "ke" + "y-" + HEX[:32]),
    ("mailchimp_key", HEX[:32] + "-u" + "s12"),
    ("square_token", "sq0" + "atp-" + R[:22]),
    ("shopify_token", "shp" + "at_" + HEX[:32]),
    ("supabase_key", "sb" + "p_" + HEX[:40]),
    ("groq_key", "gs" + "k_" + R[:52]),
    ("xai_key", "xa" + "i-" + R[:80]),
    ("vault_token", "hv" + "s." + R[:24]),
    ("telegram_bot_token", "110201543:" + "AA" + R[:33]),
    ("discord_bot_token", "M" + R[:23] + "." + R[30:36] + "." + R[40:67]),
    ("azure_client_secret", "abc" + "8Q~" + R[:34]),
    ("jwt", jwt()),
    ("private_key", pem()),
    ("private_key", pem("")),
    ("private_key", pem("OPENSSH ").replace("\n", "\\n")),
]
FRAMES = ["{}", "here is my key {} can you see why I get 401?", 'api_key: "{}"', "export API_KEY={}",
    "const key = '{}';", '{{"token": "{}"}}', "a\\n{}"]  # fmt: skip


@pytest.mark.parametrize(("kind", "key"), KEYS, ids=[f"{kind}-{n}" for n, (kind, _) in enumerate(KEYS)])
def test_a_vendors_key_is_found_whole_wherever_it_stands(kind: str, key: str) -> None:
    for frame in FRAMES:
        text = frame.format(key)
        assert [(text[s.start : s.end], s.type) for s in find_secrets(text)] == [(key, kind)], frame


ASSIGNED = [
    ("aws_secret_key", "AWS_SECRET_ACCESS_KEY=", R[:20] + "/" + R[20:38] + "+", ""),
    ("aws_secret_key", "aws_secret_access_key = ", R[:38] + "/+", ""),
    ("azure_storage_key", "AccountName=a;AccountKey=", R[:86] + "==", ";EndpointSuffix=x"),
    ("url_password", "postgres://app:", "89sVUCVpVuqq", "@db.internal:5432/app"),
    ("url_password", "mysql://root:", "b*258s6E@n0XC!oB", "@127.0.0.1/shop"),
    ("bearer_token", 'curl -H "Authorization: Bearer ', R[:44], '" https://x'),
    ("basic_credentials", "Authorization: Basic ", base64.b64encode(b"ada:" + R[:9].encode()).decode(), ""),
    ("password", 'password = "', "Tr0ub4dor&3", '"'),
    ("password", "DB_PASSWORD=", "n7!kQpa93x", "\n"),
    ("password", '"passwd": "', "aB3$efgh", '"'),
    ("password", "dbPassword := '", "s3cr3tPhrase", "'"),
    ("password", "the password is ", "k9#mQv2p", ", please"),
    ("assigned_secret", "client_secret: ", R[:32], ""),
    ("assigned_secret", 'os.environ["API_TOKEN"] = "', R[:24], '"'),
    ("assigned_secret", "SECRET_KEY=", HEX[:32], ""),
]


@pytest.mark.parametrize(("kind", "before", "value", "after"), ASSIGNED, ids=[f"{k}-{b}" for k, b, _, _ in ASSIGNED])
def test_a_value_is_a_secret_by_the_name_it_is_given(kind: str, before: str, value: str, after: str) -> None:
    text = before + value + after
    assert [(text[s.start : s.end], s.type) for s in find_secrets(text)] == [(value, kind)]


LEFT = [
    'api_key = os.environ["ANTHROPIC_API_KEY"]',
    "OPENAI_API_KEY=your-api-key-here",
    "export GITHUB_TOKEN=$(gh auth token)",
    "token: ${{ secrets.GITHUB_TOKEN }}",
    "password: ********",
    "password: str, token: str | None = None, secret: bytes",
    'password = "changeme"; secret = "example"; token="<token>"',
    "Bearer <token>, Bearer your-token-goes-here",
    "key = AKIA" + "XXXXXXXXXXXXXXXX and AKIA" + "IOSFODNN7EXAMPLE",
    "xoxb-" + "xxxxxxxxx-xxxxxxxxxx-xxxxxxxxxxxx",
    "sk-" + "..., sk-ant-" + "api03-xxxxxxxxxxxxxxxxxxxxxxxx",
    "http://user:password@example.com/",
    "-----BEGIN CERTIFICATE-----\n" + R[:64],
    "grep -r '-----BEGIN RSA PRIVATE" + " KEY-----' .",
    "commit e5f3e4c51c9e7dbc8e983ddb12d192f04474618f",
    "record.credential = hashlib.sha256(value).hexdigest()",
    "max_tokens=4096, token_count=12345678901234567, tokenizer: cl100k_base",
    "if token == other_token_of_the_caller: pass",
    "id: 3ad4550c-e0bb-414a-ad05-8008217a1e54",
    'ACL_CREDENTIALS = "Access-Control-Allow-Credentials"',
    "TimeStampToken = rfc3161.TimeStampToken",
    "password = utf8_to_utf16_dup(v)",
    "redis://[[username]:[password]]@localhost:6379/0",
    "SECRET_KEY = settings.SECRET_KEY",
    "npm_config_registry_and_other_long_lower_case_names_here",
    "the key: a long sentence about what matters most",
    "primary_key: user_id, sort key = created_at_timestamp_utc",
]


@pytest.mark.parametrize("text", LEFT)
def test_placeholders_code_and_hashes_are_no_secrets(text: str) -> None:
    assert find_secrets(text) == []


def test_every_kind_found_is_one_that_is_announced() -> None:
    assert {kind for kind, _ in KEYS} | {kind for kind, *_ in ASSIGNED} <= set(SECRET_KINDS)
    assert len(SECRET_KINDS) == len(set(SECRET_KINDS))


@pytest.mark.parametrize(("kind", "key"), KEYS, ids=[f"{kind}-{n}" for n, (kind, _) in enumerate(KEYS)])
def test_in_a_stream_a_key_is_held_back_or_found_by_its_beginning(kind: str, key: str) -> None:
    text = f"Here it is: {key} and so on"
    start = text.index(key)
    for cut in range(start + 1, start + len(key)):
        grown = text[:cut]
        if cut - start <= SEEN_BACK:
            assert tail_start(grown) <= start, grown
        else:
            assert any(span.start <= start and span.end >= tail_start(grown) for span in find_secrets(grown)), grown


ALPHABET = st.sampled_from([
    "sk-", "ant-", "eyJ", "eyJhbGci", ".", "-----BEGIN ", "PRIVATE KEY-----", "-----END ", "RSA ", "\\n", "\n",
    "password", " = ", ":", '"', "'",
    "://", "@", "Bearer ", "Basic ", R[:17], HEX[:32], "token", "key", "AKIA", "SG.", "/", "=", " ", "é", "[",
    "xoxb-", "is ", "\\",
])  # fmt: skip


@settings(max_examples=300)
@given(st.text() | st.lists(ALPHABET, max_size=40).map("".join))
def test_any_text_gives_spans_within_it_in_order_and_without_overlaps(text: str) -> None:
    place = 0
    for span in find_secrets(text):
        assert place <= span.start < span.end <= len(text)
        place = span.end
    assert max(0, len(text) - SEEN_BACK) <= tail_start(text) <= len(text)


HOSTILE = [
    "sk-", "sk-ant-", "eyJ", "eyJhbGci.", "eyJa.", "-----BEGIN PRIVATE" + " KEY-----\n",
    "-----BEGIN PRIVATE" + " KEY-----\n" + R[:64],
    "-----BEGIN ", "password=", "password:", "password", "token: ", "secret key", "key=", "://", "://a:",
    "://a:b@", "Bearer ", "Basic a",
    "AKIA", "SG.", "MAAAAAAAAAAAAAAAAAAAAAAAAA.", "A", "a-", "=", ":", "::=", "xoxb-a", "npm_", "hg-a-", "0-us",
    "A: b\n", "8Q~", "password is ",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_costs_in_proportion_to_its_length(piece: str) -> None:
    """Eight times the text may cost at most 24 times: quadratic would be 64. CPU time of this thread, best of three."""
    small, large = (_cost(piece * (size // len(piece))) for size in (4_000, 32_000))
    assert large <= 24 * max(small, 0.001)


def _cost(text: str) -> float:
    best = float("inf")
    for _ in range(3):
        begun = time.thread_time()
        find_secrets(text)
        tail_start(text)
        best = min(best, time.thread_time() - begun)
    return best


def test_entropy_is_the_bits_of_a_character() -> None:
    assert entropy("") == 0
    assert entropy("aaaa") == 0
    assert entropy("0123456789abcdef") == pytest.approx(4)


def test_a_run_of_nothing_but_beginnings_of_tokens_is_gone_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    class Counting:
        def match(self, text: str, at: int) -> object:
            tried.append(at)
            return real.match(text, at)

    real = secrets_structures._JWT
    monkeypatch.setattr(secrets_structures, "_JWT", Counting())
    token = jwt()
    found = find_secrets("eyJ" * 5000 + "! " + token)
    assert len(tried) == 2
    assert [span.type for span in found] == ["jwt"]
    assert found[0].end - found[0].start == len(token)
