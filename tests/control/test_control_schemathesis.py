"""schemathesis against the admin API: every operation, as an admin and as a tenant-admin, with every check on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from control_gateway import CHEAP, Running, running
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import from_schema
from schemathesis.engine.events import FatalError, NonFatalError, ScenarioFinished

TOLD = {
    "degrade": [{"use": "defer"}],
    "budgets": [{"per": ["tenant", "user"], "usd": 2, "every": "day"}, {"usd": 100, "every": "month"}],
    "limits": [{"per": "user", "requests_per_minute": 60}],
}
# What fits the schema may still be refused: there is no such budget, the name is taken, the role may not.
REFUSED = [200, 201, 400, 401, 403, 404, 409, 503]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("schemathesis"), TOLD) as made:
        for number in range(9):  # more than it removes: without people the door is open on loopback
            made.built.ledger.people.add(f"ada{number}", "admin", password=CHEAP.hash("correct horse battery"))
        yield made


PYTHONS_OWN = "AST constructor recursion depth"
"""CPython 3.11 (gh-106905): several threads that compile at once; the gateway is one of them."""


def failures(gate: Running, role: str, *, seconds: float, coverage: bool) -> tuple[set[str], list[str]]:
    """Run it for so long. (Operations that were asked, what was wrong)."""
    tenant = "acme" if role == "tenant-admin" else ""
    token = gate.built.ledger.api_tokens.make(role, role, tenant=tenant)[1].reveal()
    told = {
        "seed": 1,
        "base-url": f"{gate.url}/admin/api",
        "auth": {"openapi": {"token": {"bearer": token}}},
        "max-time": seconds,
        "generation": {"max-examples": 2, "no-shrink": True, "deterministic": True, "database": "none"},
        "phases": {
            "coverage": {"enabled": coverage},
            "fuzzing": {"enabled": not coverage},
            "stateful": {"enabled": False},
        },
        "checks": {"positive_data_acceptance": {"expected-statuses": REFUSED}},
    }
    document = gate.ask("/admin/api/openapi.json", authorization=f"Bearer {token}").json
    schema = schemathesis.openapi.from_dict(document, config=SchemathesisConfig.from_dict(told))
    seen, wrong = set(), []
    for event in from_schema(schema).execute():
        if isinstance(event, NonFatalError | FatalError):
            said = str(getattr(event, "info", None) or getattr(event, "exception", event))
            wrong += [] if PYTHONS_OWN in said else [said]
        if isinstance(event, ScenarioFinished):
            seen.add(str(event.label))
            for case, checks in event.recorder.checks.items():
                answer = event.recorder.interactions[case].response
                told = f"{event.label}: {'' if answer is None else answer.status_code}"
                wrong += [f"{told} {c.name}: {c.failure_info.failure}" for c in checks if c.failure_info]
    return seen, wrong


@pytest.mark.slow
@pytest.mark.parametrize(("role", "seconds", "coverage"), [("admin", 14, True), ("tenant-admin", 6, False)])
def test_the_api_does_what_its_document_says(gate: Running, role: str, seconds: float, coverage: bool) -> None:
    seen, wrong = failures(gate, role, seconds=seconds, coverage=coverage)
    assert "\n".join(sorted(wrong)) == ""
    assert len(seen) >= 10  # all of them, on a machine with nothing else to do
