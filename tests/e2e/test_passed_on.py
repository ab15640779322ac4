"""What passes unread: redirects as they are, what may have been done once only, links that lead back in any form."""

from __future__ import annotations

import gzip
import json
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
from e2e_upstream import RawUpstream, Received, whole
from e2e_world import Gateway, only

LINK = "https://api.example.com/v1/messages/batches/msgbatch_1/results"


def _ask(url: str, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    host, _, port = url.removeprefix("http://").partition(":")
    with closing(HTTPConnection(host, int(port), timeout=10)) as connection:
        connection.request(method, path, body or None, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read()


@pytest.mark.parametrize("status", ["302 Found", "304 Not Modified"])
def test_a_redirect_of_a_download_passes_with_its_place(tmp_path: Path, status: str) -> None:
    def answer(request: Received) -> bytes:
        return whole(status, b"", "location: https://files.example.com/f")

    with RawUpstream(answer) as upstream, Gateway(tmp_path, upstream.url, upstream.url) as gateway:
        got, headers, _ = _ask(gateway.url, "GET", "/v1/files/file_1/content")
    assert (got, headers["location"]) == (int(status[:3]), "https://files.example.com/f")


@pytest.mark.parametrize(("method", "path", "times"), [("POST", "/v1/batches", 1), ("GET", "/v1/batches/batch_1", 4)])
def test_what_may_have_been_done_is_not_sent_again(tmp_path: Path, method: str, path: str, times: int) -> None:
    with (
        RawUpstream(lambda request: whole("500 Internal Server Error", b"{}")) as upstream,
        Gateway(tmp_path, upstream.url, upstream.url) as gateway,
    ):
        status, _, _ = _ask(gateway.url, method, path, b"{}" if method == "POST" else b"")
        assert (status, len(upstream.received)) == (503, times)


@pytest.mark.parametrize("form", ["plain", "coded", "escaped"])
def test_a_link_to_results_leads_back_in_whatever_form_it_comes(tmp_path: Path, form: str) -> None:
    body = json.dumps({"id": "msgbatch_1", "results_url": LINK}).encode()
    if form == "escaped":
        body = body.replace(b"/", b"\\/")

    def answer(request: Received) -> bytes:
        return (
            whole("200 OK", gzip.compress(body), "content-encoding: gzip") if form == "coded" else whole("200 OK", body)
        )

    with RawUpstream(answer) as upstream, Gateway(tmp_path, upstream.url, upstream.url) as gateway:
        _, headers, got = _ask(gateway.url, "GET", "/v1/messages/batches/msgbatch_1")
        assert json.loads(got)["results_url"] == f"{gateway.url}/v1/messages/batches/msgbatch_1/results"
        assert "content-encoding" not in headers
        assert only(gateway.rows("exchanges"))["price_version"] == "free"


@pytest.mark.parametrize("path", ["/v1/vector_stores/vs_1/search", "/v1/containers", "/v1/batches", "/v1/unheard_of"])
def test_what_may_cost_money_that_cannot_be_worked_out_is_never_free(tmp_path: Path, path: str) -> None:
    with (
        RawUpstream(lambda request: whole("200 OK", b"{}")) as upstream,
        Gateway(tmp_path, upstream.url, upstream.url) as gateway,
    ):
        _ask(gateway.url, "POST", path, b"{}")
        assert only(gateway.rows("exchanges"))["price_version"] == "unpriced"
