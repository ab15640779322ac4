"""What is served beside the data plane: made late, and let in with care."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from control_gateway import TOKEN, Running, running

from headgate.core.errors import Unavailable


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("aside")) as made:
        yield made


def ask(gate: Running, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> tuple[int, Any, bytes]:
    answer = gate.ask(path, method, body, **headers)
    return answer.status, answer.headers, answer.body


def test_the_owner_of_the_machine_comes_in_without_login(gate: Running) -> None:
    status, headers, body = ask(gate, "/")
    assert status == 200
    assert b"Headgate" in body
    assert headers["cache-control"] == "no-store"


def test_every_answer_has_the_security_headers_errors_too(gate: Running) -> None:
    for path in ("/", "/ui/nowhere", "/admin/api/v1/nowhere", "/static/nowhere.js"):
        _, headers, _ = ask(gate, path)
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "'unsafe-inline'" not in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "gateway.example"},
        {"host": "127.0.0.1.example:80"},
        {"x_forwarded_for": "10.0.0.1"},
        {"via": "1.1 proxy"},
        {"x_real_ip": "10.0.0.1"},
    ],
)
def test_nobody_is_the_owner_under_another_name_or_through_a_proxy(gate: Running, headers: dict[str, str]) -> None:
    status, _, body = ask(gate, "/", **headers)
    assert status == 403
    assert b"headgate people add" in body


def test_the_command_lines_paths_stay_the_control_apis(gate: Running) -> None:
    status, _, body = ask(gate, "/admin/api/keys", authorization=f"Bearer {TOKEN}")
    assert (status, body) == (200, b'{"keys": []}')


def test_a_path_that_nobody_serves_is_a_problem_for_programs_and_a_page_for_people(gate: Running) -> None:
    status, headers, _ = ask(gate, "/admin/api/v1/nowhere")
    assert (status, headers["content-type"]) == (404, "application/problem+json")
    status, headers, _ = ask(gate, "/ui/nowhere")
    assert (status, headers["content-type"]) == (404, "text/html; charset=utf-8")


def test_a_body_above_the_limit_is_refused_before_anything_reads_it(gate: Running) -> None:
    status, headers, _ = ask(gate, "/admin/api/v1/keys", "POST", b"x" * (64 * 1024 + 1))
    assert (status, headers["content-type"]) == (413, "application/problem+json")


def test_a_browsers_change_needs_its_own_origin_and_the_token(gate: Running) -> None:
    own = gate.url
    assert ask(gate, "/ui/nowhere", "POST", origin="http://evil.example")[0] == 403
    assert ask(gate, "/ui/nowhere", "POST", origin="null")[0] == 403
    assert ask(gate, "/ui/nowhere", "POST", origin=own)[0] == 403  # without the token
    assert ask(gate, "/ui/nowhere", "POST", sec_fetch_site="cross-site")[0] == 403


def test_a_gateway_whose_admin_api_cannot_be_made_says_so_and_serves_on(tmp_path: Any) -> None:
    def broken(_gateway: object) -> Any:
        raise Unavailable("it is broken")

    with running(tmp_path, aside=broken) as gate:
        status, _, body = ask(gate, "/")
        assert (status, b"it is broken" in body) == (503, True)
        assert ask(gate, "/health/ready")[0] == 200


def test_a_gateway_off_loopback_without_people_tells_how_to_make_one(tmp_path: Any) -> None:
    with running(tmp_path, loopback=False) as gate:
        status, _, body = ask(gate, "/")
        assert (status, b"headgate people add" in body) == (403, True)
        status, headers, _ = ask(gate, "/admin/api/v1/keys")
        assert (status, headers["content-type"]) == (403, "application/problem+json")
