"""One person of each role, and a browser without scripts for them."""

from __future__ import annotations

import http.client
import re
from collections.abc import Mapping
from html import unescape
from typing import Any
from urllib.parse import urlencode, urlsplit

from pages_world import CHEAP, World

PASSWORD = "correct horse battery"
ROLES = {"root": "admin", "oli": "operator", "vic": "viewer", "tia": "tenant-admin"}


def add_people(gate: World) -> None:
    """The tenant-admin's tenant is globex."""
    for name, role in ROLES.items():
        tenant = "globex" if role == "tenant-admin" else ""
        gate.built.ledger.people.add(name, role, tenant=tenant, password=CHEAP.hash(PASSWORD))


class Visitor:
    """A browser as small as can be: one cookie, no scripts."""

    def __init__(self, gate: World, name: str = "") -> None:
        self.gate, self.cookie = gate, ""
        if name:
            _, headers, _ = self.ask("/login", {"name": name, "password": PASSWORD})
            self.cookie = (headers["set-cookie"] or "").partition(";")[0]
            assert self.cookie

    def ask(self, path: str, form: Mapping[str, str] | None = None) -> tuple[int, Any, str]:
        where = urlsplit(self.gate.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
        headers = {"cookie": self.cookie} if self.cookie else {}
        if form is not None:
            headers |= {"origin": self.gate.url, "content-type": "application/x-www-form-urlencoded"}
        connection.request("GET" if form is None else "POST", path, None if form is None else urlencode(form), headers)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, answer.headers, body

    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.ask("/")[2])
        assert found
        return found[1]


def rows_at(visitor: Visitor, path: str) -> int:
    status, _, body = visitor.ask(path)
    assert status == 200
    return len(re.findall(r'<tr class="link', body))


def addresses(body: str, start: str) -> list[str]:
    """Where the links of a page lead, of those that begin so."""
    return [each for each in map(unescape, re.findall(r'href="([^"]+)"', body)) if each.startswith(start)]
