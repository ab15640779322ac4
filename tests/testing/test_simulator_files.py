"""Both vendors' Files: the real SDKs against the simulator, and the multipart reader byte by byte."""

from __future__ import annotations

import io
import resource
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Limits, Match, Rule, Scenario
from headgate.testing.simulator.multipart import Multipart

MB = 1024 * 1024


@pytest.fixture
def claude(headgate_simulator: SimulatorServer) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=headgate_simulator.url, api_key="fake", max_retries=0)


@pytest.fixture
def gpt(headgate_simulator: SimulatorServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=headgate_simulator.openai_url, api_key="fake", max_retries=0)


def test_an_anthropic_file_is_uploaded_described_downloaded_and_deleted(claude: anthropic.Anthropic) -> None:
    made = claude.beta.files.upload(file=("download me.txt", b"a,b\n1,2\n", "text/csv"))
    assert (made.filename, made.mime_type, made.size_bytes) == ("download me.txt", "text/csv", 8)
    assert made.id.startswith("file_")
    assert claude.beta.files.retrieve_metadata(made.id) == made
    assert claude.beta.files.download(made.id).read() == b"a,b\n1,2\n"
    assert claude.beta.files.delete(made.id).type == "file_deleted"
    with pytest.raises(anthropic.NotFoundError):
        claude.beta.files.retrieve_metadata(made.id)


def test_an_uploaded_file_cannot_be_downloaded_at_anthropic_unless_its_name_says_so(
    claude: anthropic.Anthropic,
) -> None:
    made = claude.files.upload(file=("mine.txt", b"hello"))
    assert made.downloadable is False
    with pytest.raises(anthropic.BadRequestError, match="not downloadable"):
        claude.files.download(made.id)


def test_anthropic_files_are_listed_in_pages_newest_first(claude: anthropic.Anthropic) -> None:
    made = [claude.files.upload(file=(f"{n}.txt", b"x")).id for n in range(5)]
    assert [file.id for file in claude.files.list(limit=2)] == made[::-1]
    assert {file.id for file in claude.files.list(ids=made[:2])} == set(made[:2])


def test_an_openai_file_is_uploaded_described_read_and_deleted(gpt: openai.OpenAI) -> None:
    made = gpt.files.create(file=("notes.txt", b"hello"), purpose="user_data")
    assert (made.filename, made.bytes, made.purpose, made.status) == ("notes.txt", 5, "user_data", "processed")
    assert gpt.files.retrieve(made.id) == made
    assert gpt.files.content(made.id).read() == b"hello"
    assert gpt.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        gpt.files.content(made.id)


def test_openai_files_are_listed_by_purpose_order_and_page(gpt: openai.OpenAI) -> None:
    made = [gpt.files.create(file=(f"{n}.txt", b"x"), purpose="user_data").id for n in range(3)]
    batch = gpt.files.create(file=("b.jsonl", b"{}"), purpose="batch")
    assert batch.expires_at == batch.created_at + 30 * 86_400
    assert [file.id for file in gpt.files.list(purpose="user_data", limit=2)] == made[::-1]
    assert [file.id for file in gpt.files.list(order="asc")] == [*made, batch.id]


def test_the_vendors_and_the_credentials_do_not_see_each_others_files(
    claude: anthropic.Anthropic, gpt: openai.OpenAI
) -> None:
    made = claude.files.upload(file=("a.txt", b"x"))
    assert list(gpt.files.list()) == []
    with pytest.raises(anthropic.NotFoundError):
        claude.with_options(api_key="other-fake").files.retrieve_metadata(made.id)


@pytest.mark.parametrize(
    ("fields", "files", "part"),
    [
        ({"purpose": "mischief"}, {"file": b"x"}, "purpose"),
        ({}, {"file": b"x"}, "purpose"),
        ({"purpose": "batch"}, {"other": b"x"}, "other"),
        ({"purpose": "batch", "expires_after[seconds]": "5"}, {"file": b"x"}, "expires_after"),
    ],
)
def test_what_is_wrong_with_an_upload_is_named(
    headgate_simulator: SimulatorServer, fields: dict[str, str], files: dict[str, bytes], part: str
) -> None:
    answer = httpx2.post(
        f"{headgate_simulator.openai_url}/files",
        data=fields,
        files={name: (name, io.BytesIO(data)) for name, data in files.items()},
        headers={"authorization": "Bearer fake"},
        timeout=60,  # the machine may be busy with other tests
    )
    assert answer.status_code == 400
    assert part in answer.json()["error"]["message"]


class Endless(io.RawIOBase):
    """So many bytes, which exist only while they are read."""

    def __init__(self, size: int) -> None:
        self.size, self.at = size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset + (0, self.at, self.size)[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def read(self, size: int = -1) -> bytes:
        size = min(self.size - self.at, size if size >= 0 else self.size)
        self.at += size
        return b"z" * size


def test_a_hundred_megabytes_pass_both_ways_without_being_held(headgate_simulator: SimulatorServer) -> None:
    size = 100 * MB
    with httpx2.Client(base_url=headgate_simulator.openai_url, headers={"authorization": "Bearer fake"}) as client:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        made = client.post("/files", data={"purpose": "user_data"}, files={"file": ("big.bin", Endless(size))})  # type: ignore[dict-item]
        assert made.json()["bytes"] == size
        with client.stream("GET", f"/files/{made.json()['id']}/content") as answer:
            assert sum(map(len, answer.iter_bytes())) == size
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 20 * 1024  # KiB: client and server together
    assert headgate_simulator.requests()[0]["body_bytes"] > size


def test_faults_and_limits_strike_files_where_a_rule_names_them(
    headgate_simulator: SimulatorServer, gpt: openai.OpenAI
) -> None:
    def load(kind: str, **told: Any) -> str:
        headgate_simulator.load(None)
        headgate_simulator.load(Scenario(rules=(Rule(Fault(kind, **told), Match(path="/v1/files/*/content")),)))
        return gpt.files.create(file=("a.bin", b"x" * 300_000), purpose="user_data").id

    made = load("overloaded")
    with pytest.raises(openai.InternalServerError):
        gpt.files.content(made)
    for kind in ("cut", "no_terminal", "truncate"):
        made = load(kind, **({} if kind == "no_terminal" else {"after_events": 2}))
        with pytest.raises((openai.APIConnectionError, httpx2.HTTPError)):
            gpt.files.content(made).read()
    made = load("malformed_event", after_events=1)
    assert gpt.files.content(made).read() == b"x" * 65536 + bytes(65536) + b"x" * (300_000 - 2 * 65536)
    headgate_simulator.load(Scenario(limits=Limits(requests_per_minute=1)))
    list(gpt.files.list())
    with pytest.raises(openai.RateLimitError):
        gpt.files.create(file=("a.bin", b"x" * 300_000), purpose="user_data")
    headgate_simulator.load(Scenario(rules=(Rule(Fault("rate_limit"), Match(path="/v1/files")),)))
    with pytest.raises(openai.RateLimitError):
        gpt.files.create(file=("a.bin", b"x" * 300_000), purpose="user_data")


def encoded(boundary: bytes, parts: list[tuple[str, str | None, bytes]]) -> bytes:
    made = b""
    for name, filename, data in parts:
        named = b"" if filename is None else b'; filename="%s"' % filename.encode()
        made += b'--%s\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % (
            boundary,
            name.encode(),
            named,
            data,
        )
    return made + b"--%s--\r\n" % boundary


def cuts(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = 0
    for size in sizes:
        yield data[at : at + size]
        at += size
    yield data[at:]


@given(
    content=st.lists(st.sampled_from([b"--edge", b"\r\n", b"-", b"\r", b"e", b"\x00\xff", b"\r\n--edg"])).map(b"".join),
    text=st.text("abc\u00fc", max_size=8),
    sizes=st.lists(st.integers(0, 40), max_size=30),
)
def test_any_cut_of_a_multipart_body_reads_the_same(content: bytes, text: str, sizes: list[int]) -> None:
    if b"\r\n--edge" in b"\r\n" + content:
        return  # then it would be a boundary
    body = encoded(b"edge", [("a", None, text.encode()), ("file", "x.bin", content), ("b", None, b"last")])
    got = bytearray()
    form = Multipart("multipart/form-data; boundary=edge", lambda part: got.extend)
    for piece in cuts(body, sizes):
        form.feed(piece)
    form.close()
    assert bytes(got) == content
    assert form.fields == {"a": text, "b": "last"}


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"--edge--"),
        ("multipart/form-data; boundary=edge", b"--edge\r\nContent-Disposition: form-data\r\n\r\nx\r\n--edge--"),
        ("multipart/form-data; boundary=edge", b'--edge\r\nContent-Disposition: form-data; name="a"\r\n\r\nx'),
        ("multipart/form-data; boundary=edge", b"--edge and more\r\n"),
        ("multipart/form-data; boundary=edge", b"--edge\r\n" + b"x" * 20_000),
    ],
)
def test_what_is_not_a_multipart_body_is_refused(content_type: str, body: bytes) -> None:
    def read() -> None:
        form = Multipart(content_type, lambda part: lambda data: None)
        form.feed(body)
        form.close()

    with pytest.raises(ValueError):
        read()
