"""The roles that docs/storage.md has to copy: they are enough, and not more."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from ledger_maker import Maker
from postgres_server import Server, server

from headgate import Gate
from headgate.core.budget import Budget
from headgate.core.errors import ConfigError, HeadgateError, Unavailable
from headgate.engine.blocking import run_blocking
from headgate.policy.budget_scopes import claim_on
from headgate.stores.opening import open_ledger, open_reader

__all__ = ["server"]

PAGE = Path(__file__).parents[2] / "docs" / "storage.md"

Url = Callable[[str], str]


@pytest.fixture
def as_role(server: Server) -> Url:
    """What the page says, done once: `as_role("reader")` is a URL of that role."""
    (said,) = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    database = "postgres"
    if not server.run("SELECT 1 FROM pg_roles WHERE rolname = 'headgate_owner'"):
        for part in re.split(r"\n\\connect headgate\n", said):
            for statement in filter(None, map(str.strip, re.sub("--.*", "", part).split(";"))):
                server.run(statement, database)
            database = "headgate"
    return lambda role: f"postgresql://headgate_{role}@127.0.0.1:{server.port}/headgate"


def test_each_role_can_do_its_part_and_no_more(as_role: Url, make: Maker, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="role that may create tables"):
        open_ledger(as_role("gateway")).open()
    env = {"OWNER_URL": as_role("owner")}
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path)
        with Gate.load(env=env, storage="env:OWNER_URL") as gate:
            gate.flush()
    ledger = open_ledger(as_role("gateway"))
    claim = claim_on(Budget("all/day", cap_nano=10_000, every="day"), "", 1_800_000_000.0)
    exchange = make.exchange()
    attempt = make.attempt(exchange, bound=5_000)
    attempt.claims = (claim,)
    run_blocking(ledger.blocking().intend(exchange, attempt))
    ledger.blocking().settle(make.answered(exchange, cost=3))
    ledger.set_cap("all/day", "", (20_000, None))
    ledger.keys.revoke(ledger.keys.create("ci").key.id)
    ledger._call(lambda session: session.tick(sweep=True))
    assert [each.spent_nano for each in ledger.balances([claim])] == [3]
    ledger.close()
    reader = open_reader(as_role("reader"))
    assert reader.usage().total.cost_nano == 3
    stored = reader.keys()
    assert [key.name for key in stored] == ["ci"]
    for role, refused in (("reader", "DELETE FROM keys"), ("gateway", "DROP TABLE keys"), ("gateway", "TRUNCATE keys")):
        other = open_ledger(as_role(role) + f"?application_name={role}2")
        with pytest.raises(HeadgateError) as caught:
            other.call(lambda connection, refused=refused: connection.exec_driver_sql(refused))  # type: ignore[misc]
        assert isinstance(caught.value, ConfigError | Unavailable)
        assert re.search("permission denied|must be owner", str(caught.value))
        other.close()
