"""Bytes out and bytes in, without a socket."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.errors import UpstreamRejected
from headgate.upstream import http1
from headgate.upstream.http1 import Heads, ResponseReader, parse_url, request_head

BODY = b"event: ping\ndata: {}\n\n" * 3
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nSet-Cookie: a\r\nset-cookie: b\r\nContent-Length: %d\r\n\r\n%s" % (
    len(BODY),
    BODY,
)
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n"
    b'5;name="v;1"\r\nevent\r\n%x\r\n%s\r\n0\r\nx-sum: 1\r\n\r\n' % (len(BODY) - 5, BODY[5:])
)
HINTED = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\ncontent-length: 9\r\n\r\n" + LENGTH
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\ncontent-type: a/b\r\n\r\n" + BODY


def read(pieces: list[bytes], method: str = "GET") -> tuple[object, ...]:
    reader = ResponseReader()
    reader.begin(method)
    for piece in pieces:
        reader.feed(piece)
    ended = reader.eof() if not reader.done else True
    return reader.status, tuple(reader.headers), b"".join(reader.pieces), ended, reader.failure


def cut(data: bytes, at: list[int]) -> list[bytes]:
    bounds = [0, *sorted({i % len(data) for i in at}), len(data)]
    return [data[a:b] for a, b in pairwise(bounds) if a < b]


@given(st.sampled_from([LENGTH, CHUNKED, HINTED, UNTIL_CLOSE]), st.lists(st.integers(0, 10_000), max_size=30))
def test_any_segmentation_gives_the_same_response(data: bytes, at: list[int]) -> None:
    assert read(cut(data, at)) == read([data])
    assert read([data])[2:] == (BODY, True, "")


@pytest.mark.parametrize("data", [LENGTH, CHUNKED, HINTED], ids=["length", "chunked", "hinted"])
def test_a_cut_at_every_byte_is_never_taken_for_the_end(data: bytes) -> None:
    for end in range(len(data)):
        status, _, body, ended, _ = read([data[:end]])
        assert not ended
        assert BODY.startswith(body)  # type: ignore[arg-type]
        assert status in (0, 200)


def test_header_names_are_lower_case_in_order_with_duplicates_and_without_hop_by_hop() -> None:
    assert read([LENGTH])[1] == (
        (b"content-type", b"a/b"),
        (b"set-cookie", b"a"),
        (b"set-cookie", b"b"),
        (b"content-length", b"%d" % len(BODY)),
    )
    assert read([CHUNKED])[1] == ()


@pytest.mark.parametrize(
    ("data", "method", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", "HEAD", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "GET", True),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", "GET", True),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "GET", True),
        (b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n", "GET", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", "GET", False),
        (b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n", "GET", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "HEAD", False),
    ],
)
def test_responses_without_a_body_end_with_their_head(data: bytes, method: str, reusable: bool) -> None:
    reader = ResponseReader()
    reader.begin(method)
    reader.feed(data)
    assert (reader.done, reader.reusable, reader.pieces) == (True, reusable, [])


def test_a_reader_reads_one_response_after_another_also_after_head() -> None:
    reader = ResponseReader()
    for method, data in (
        ("HEAD", LENGTH[: -len(BODY)]),
        ("GET", CHUNKED),
        ("HEAD", LENGTH[: -len(BODY)]),
        ("GET", LENGTH),
    ):
        reader.begin(method)
        reader.feed(data)
        assert reader.done
        assert reader.reusable
        assert b"".join(reader.pieces) == (BODY if method == "GET" else b"")


@pytest.mark.parametrize("surplus", [b"x", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx", b"\0\0"])
def test_bytes_after_the_end_leave_the_answer_whole_and_the_connection_unfit(surplus: bytes) -> None:
    for pieces in ([LENGTH + surplus], [LENGTH, surplus]):
        reader = ResponseReader()
        reader.begin("GET")
        for piece in pieces:
            reader.feed(piece)
        assert reader.done
        assert not reader.failure
        assert not reader.reusable
        assert b"".join(reader.pieces) == BODY


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\na: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFFFF\r\n",
        b"HTTP/1.1 101 Switching\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\n" + b"a: " + b"b" * 70_000,
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 11_000 + b"\r\n",
    ],
)
def test_what_is_not_http_is_a_failure(data: bytes) -> None:
    assert read([data])[4]
    assert read([data[i : i + 1000] for i in range(0, len(data), 1000)])[4]


NAMES = [b"Content-Type", b"Set-Cookie", b"set-cookie", b"Keep-Alive", b"X-A", b"Connection", b"trailer"]
VALUES = [b"", b"a", b" a : b ", b": b: c", b"\t\x80", b"keep-alive", b"x" * 100]
FRAMES = [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]


@given(
    st.lists(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=4), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from(VALUES), st.sampled_from(FRAMES)), max_size=12),
    st.integers(0, 200),
)
def test_heads_that_are_alike_are_read_as_if_each_were_the_first(
    heads: list[list[tuple[bytes, bytes]]], answers: list[tuple[int, bytes, bytes]], at: int
) -> None:
    reader = ResponseReader()
    for which, value, framed in answers:
        fields = [*heads[which % len(heads)], (b"x-own", value)]
        data = b"HTTP/1.1 200 OK\r\n" + b"".join(b"%b:%b\r\n" % field for field in fields) + framed
        for pieces in ([data], cut(data, [at])):
            reader.begin("POST")
            for piece in pieces:
                reader.feed(piece)
            kept = [(name.lower(), value.lstrip(b" \t")) for name, value in fields]
            told = [field for field in reader.headers if field[0] != b"content-length"]
            assert told == [f for f in kept if f[0] not in (b"connection", b"keep-alive", b"trailer")]
            assert (reader.done, reader.reusable, b"".join(reader.pieces), reader.failure) == (True, True, b"hello", "")


def test_what_is_kept_of_heads_is_bounded() -> None:
    reader = ResponseReader()
    for number in range(500):
        for _ in range(3):
            reader.begin("GET")
            reader.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-%d: secret\r\n\r\n" % number)
            assert reader.headers[1] == (b"x-%d" % number, b"secret")
    assert 0 < len(http1._shapes) <= 128


def test_fields_that_come_only_once_leave_nothing_behind() -> None:
    reader = ResponseReader()
    http1._shapes.clear()
    for number in range(10):
        reader.begin("GET")
        reader.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-%d: a\r\n\r\n" % number)
    assert not http1._shapes


def test_a_large_body_in_the_same_piece_as_the_head_is_not_a_large_head() -> None:
    body = b"x" * 200_000
    assert read([b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n" + body])[2:] == (body, True, "")


@given(st.binary(max_size=400))
def test_no_bytes_raise(data: bytes) -> None:
    read([b"HTTP/1.1 200 OK\r\n" + data])
    read([data])


# Requests.


def test_a_request_has_our_own_host_length_and_encoding_and_no_hop_by_hop_fields() -> None:
    headers = [
        (b"x-api-key", b"k"),
        (b"Host", b"evil"),
        (b"connection", b"keep-alive, X-Hop"),
        (b"x-hop", b"1"),
        (b"te", b"trailers"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"h2c"),
        (b"proxy-authorization", b"p"),
        (b"expect", b"100-continue"),
        (b"accept-encoding", b"gzip, br"),
        (b"content-length", b"999"),
        (b"anthropic-beta", b"a"),
        (b"anthropic-beta", b"b"),
    ]
    head = request_head("POST", parse_url("https://api.example.com/v1/messages?beta=true#x"), headers, 12)
    assert head.split(b"\r\n") == [
        b"POST /v1/messages?beta=true HTTP/1.1",
        b"host: api.example.com",
        b"x-api-key: k",
        b"accept-encoding: gzip, br",
        b"anthropic-beta: a",
        b"anthropic-beta: b",
        b"content-length: 12",
        b"",
        b"",
    ]


def test_a_plain_body_is_asked_for_where_the_caller_says_nothing_of_codings() -> None:
    assert b"\r\naccept-encoding: identity\r\n" in request_head("GET", parse_url("http://h/"), [(b"a", b"b")], 0)


def test_a_body_is_announced_only_where_there_is_one_or_the_method_means_one() -> None:
    target = parse_url("http://h/")
    assert b"content-length: 0" in request_head("POST", target, (), 0)
    assert b"content-length" not in request_head("GET", target, (), 0)


@given(
    st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=12)), max_size=4),
    st.sampled_from([(b"a", b"b"), (b"a\r\nx", b"b"), (b"a", b"b\r\n\r\nGET / HTTP/1.1"), (b"a b", b"c"), (b"", b"v")]),
)
def test_no_header_can_make_a_line_of_its_own(headers: list[tuple[bytes, bytes]], planted: tuple[bytes, bytes]) -> None:
    try:
        head = request_head("GET", parse_url("http://h/"), [*headers, planted], 0)
    except UpstreamRejected:
        return
    lines = head.split(b"\r\n")
    assert lines[-2:] == [b"", b""]
    assert len(lines) <= 2 + 3 + len(headers) + 1
    assert all(b"\r" not in line and b"\n" not in line and b"\0" not in line for line in lines)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/",
        "h/x",
        "http://",
        "http://h:99999/",
        "http://h:0/",
        "http://h:x/",
        "http://user:pw@h/",
        "http://h/a\r\nx: y",
        "http://h/\0",
        "http://[::1/",
        "http://" + "a" * 70 + ".b/",
    ],
)
def test_a_bad_url_is_a_config_fault_that_does_not_repeat_the_url(url: str) -> None:
    with pytest.raises(UpstreamRejected) as caught:
        parse_url(url)
    assert caught.value.kind == "config"
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "where", "host", "path"),
    [
        ("http://H.example:80/a", "h.example:80", b"h.example", "/a"),
        ("https://h:8443", "h:8443", b"h:8443", "/"),
        ("http://[::1]:9/x?y=1", "[::1]:9", b"[::1]:9", "/x?y=1"),
        ("http://bücher.example/ü b?q=%2F", "xn--bcher-kva.example:80", b"xn--bcher-kva.example", "/%C3%BC%20b?q=%2F"),
    ],
)
def test_a_url_gives_origin_host_field_and_path(url: str, where: str, host: bytes, path: str) -> None:
    target = parse_url(url)
    assert (str(target.origin), target.host, target.path) == (where, host, path)


@pytest.mark.parametrize("method", ["", "G ET", "GET\r\nx", "GÉT"])
def test_a_method_that_is_no_token_is_a_config_fault(method: str) -> None:
    with pytest.raises(UpstreamRejected):
        request_head(method, parse_url("http://h/"), (), 0)


FIELDS = st.lists(
    st.tuples(st.sampled_from([b"a", b"x-api-key", b"Accept-Encoding", b"host", b"connection"]), st.binary(max_size=3)),
    max_size=3,
)


@given(st.lists(st.tuples(st.integers(0, 2), FIELDS), max_size=12), st.sampled_from(["POST", "GET"]))
def test_a_list_of_headers_known_again_gives_the_same_head_even_when_it_was_changed_in_place(
    steps: list[tuple[int, list[tuple[bytes, bytes]]]], method: str
) -> None:
    heads, target = Heads(), parse_url("http://h/")
    lists: list[list[tuple[bytes, bytes]]] = [[], [], []]
    for length, (which, fields) in enumerate(steps):
        lists[which][:] = fields
        try:
            expected = request_head(method, target, lists[which], length)
        except UpstreamRejected:
            with pytest.raises(UpstreamRejected):
                heads.head(method, target, lists[which], length)
            continue
        assert heads.head(method, target, lists[which], length) == expected
        assert heads.head(method, target, lists[which], length) == expected


def test_what_is_kept_of_headers_is_bounded() -> None:
    heads, target = Heads(), parse_url("http://h/")
    lists = [[(b"a", b"%d" % number)] for number in range(1000)]
    for headers in lists:
        assert b"\r\na: %b\r\n" % headers[0][1] in heads.head("GET", target, headers, 0)
    heads.head("GET", target, [(b"a", b"x" * 10_000)], 0)
    assert len(heads._known) <= 128
    assert all(len(begun) <= 8300 for _, _, begun in heads._known.values())


def test_a_plain_body_is_asked_for_once_and_only_where_no_field_says_otherwise() -> None:
    target = parse_url("http://h/")
    for headers, expected in (
        ([(b"accept-encoding", b"identity"), (b"x-never-seen-before", b"1")], [b"identity"]),
        ([(b"Accept-Encoding", b"br")], [b"br"]),
        ([(b"a", b"accept-encoding: br")], [b"identity"]),
        ([(b"accept-encoding", b"br"), (b"connection", b"accept-encoding")], [b"identity"]),
    ):
        lines = request_head("GET", target, headers, 0).split(b"\r\n")
        assert [line.partition(b": ")[2] for line in lines if line.startswith(b"accept-encoding")] == expected
