"""Every page over either database, without a browser: there is something to show, and nothing is refused."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import httpx
import pytest
from pages_stories import life
from pages_world import world

from headgate.pages.tour import PAGES

sys.path.insert(0, str(Path(__file__).parents[1] / "stores"))

from postgres_server import the_server  # it lies beside the stores' tests


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_every_page_is_there_over_either_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    monkeypatch.chdir(tmp_path)  # where the log's files are, with a ledger in PostgreSQL
    storage = the_server().url() if database == "postgres" else f"sqlite:///{tmp_path / 'headgate.db'}"
    now = time.time()
    with world(tmp_path, {"storage": storage}) as made, httpx.Client(base_url=made.url) as client:
        story = list(life(now, days=1, calls=20))
        made.record(story)
        one = next(each for each in story if each.request.caller.session)
        paths = [page.path for page in PAGES]
        paths += [f"/ui/exchanges/{one.id}", f"/ui/conversations/{one.request.caller.session}"]
        paths += ["/ui/exchanges/tail", "/ui/spend.csv"]
        found = {path: client.get(path, timeout=30.0) for path in paths}
    assert {path: each.status_code for path, each in found.items()} == dict.fromkeys(found, 200)
    assert "Time to first content" in found["/"].text
