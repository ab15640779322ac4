"""`kill -9` at random moments: is the budget kept, is the bill covered, is nothing held for ever?

A ledger lives through five gateways. Each is started on it (which recovers what the one before left open), is given a
burst, and is killed at a random moment, of the burst or, one time in ten, of its start. Before each burst, and at the
end, the books must agree with the invoice: never below it, never above the cap, nothing held.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import money_books, paid_provider
from benchmarks.burst import MESSAGES, burst
from benchmarks.paid_provider import Provider
from benchmarks.report import Number

KILLS_PER_LEDGER = 5
CALLERS = 64
CAP = 1_000_000_000
"""$1: a burst that gets through costs $0.13, one that is killed with all in flight $0.33. So a ledger's last gateways
find little left."""
LATEST_SECONDS = 0.5
"""After the burst begins. Its first answers come at about 0.25 s, its last ones at about this."""
LATEST_START_SECONDS = 1.2
_AT_START = 0.1  # share of the kills


@dataclass(slots=True)
class Found:
    """What the checks found, over all ledgers. Money is nano-dollars."""

    kills: int = 0
    checks: int = 0
    caught: int = 0  # kills that left money held
    held_at_kills: int = 0
    overspent: int = 0  # sums of what was wrong at each check
    missing: int = 0
    held: int = 0
    astray: int = 0
    cost: int = 0
    billed: int = 0
    full: int = 0  # ledgers whose budget was used up to less than a hold
    ledgers: int = 0
    wrong: list[str] = field(default_factory=list)

    def check(self, books: money_books.Books, billed: int, where: str) -> None:
        """Compare a recovered ledger with the invoice."""
        self.checks += 1
        for name, amount in (
            ("overspent", max(0, billed - CAP)),
            ("missing", max(0, billed - books.cost)),
            ("held", books.held),
            ("astray", abs(books.accounts - books.cost)),
        ):
            if amount:
                setattr(self, name, getattr(self, name) + amount)
                self.wrong.append(f"{where}: {name} {amount}")


def measure(runs: int, seed: int) -> Iterator[Number]:
    """`runs` kills; the same seed draws the same moments."""
    chance = random.Random(seed)
    found = Found()
    while found.kills < runs:
        with tempfile.TemporaryDirectory(prefix="headgate-kills-") as directory:
            _ledger(Path(directory), chance, found, min(KILLS_PER_LEDGER, runs - found.kills))
    yield from _numbers(found, seed)


def _ledger(root: Path, chance: random.Random, found: Found, kills: int) -> None:
    """One ledger's life."""
    home = root / "gateway"
    ledger = home / "bench.db"
    budgets = [{"usd": paid_provider.usd(CAP)}]
    where = f"ledger {found.ledgers}"
    with paid_provider.provider(root) as provider:
        for number in range(kills):
            if chance.random() < _AT_START:
                with paid_provider.starting(home, provider.url, budgets) as (_, child):
                    time.sleep(chance.uniform(0.0, LATEST_START_SECONDS))
                    child.process.kill()
                    child.process.wait()
            else:
                with paid_provider.gateway(home, provider.url, budgets) as (port, child):
                    found.check(money_books.read(ledger), provider.invoice()["cost_nano"], f"{where}, kill {number}")
                    _killed(port, child.process.kill, chance.uniform(0.0, LATEST_SECONDS))
                    child.process.wait()
            found.kills += 1
            _held(ledger, found)
        with paid_provider.gateway(home, provider.url, budgets):
            pass
        _end(ledger, provider, found, where)


def _killed(port: int, kill: Callable[[], None], after: float) -> None:
    """A burst, and the kill in the middle of it."""
    callers = threading.Thread(target=lambda: burst(port, MESSAGES, CALLERS, patience=10.0))
    callers.start()
    time.sleep(after)
    kill()
    callers.join()


def _held(ledger: Path, found: Found) -> None:
    """What the dead one left, before anybody recovers it."""
    if not ledger.exists():
        return  # it was killed before it had a ledger
    try:
        held = money_books.read(ledger).held
    except Exception as error:  # killed while it made the tables
        if "no such table" not in str(error) and "unable to open" not in str(error):
            raise
        return
    found.caught += held > 0
    found.held_at_kills += held


def _end(ledger: Path, provider: Provider, found: Found, where: str) -> None:
    books = money_books.read(ledger)
    billed = provider.invoice()["cost_nano"]
    found.check(books, billed, f"{where}, end")
    found.ledgers += 1
    found.cost += books.cost
    found.billed += billed
    found.full += CAP - books.cost < books.dearest_hold


def _numbers(found: Found, seed: int) -> Iterator[Number]:
    wrong = "; ".join(found.wrong[:3])
    note = f"seed {seed}, {found.checks} checks of {found.ledgers} ledgers, {found.full} of them used up"
    name = f"{found.kills} x kill -9"
    yield Number("kills", f"{name}: overspent", found.overspent, "nano-USD", 0, note=wrong or note)
    yield Number("kills", f"{name}: on the invoice and not in the ledger", found.missing, "nano-USD", 0)
    yield Number("kills", f"{name}: held after recovery", found.held, "nano-USD", 0)
    yield Number("kills", f"{name}: accounts less ledger", found.astray, "nano-USD", 0)
    yield Number(
        "kills",
        f"{name}: of them with money held",
        found.caught,
        "",
        note=f"${found.held_at_kills / 1e9:.4f} in all, charged in full by the recovery",
    )
    above = (found.cost / found.billed - 1) * 100 if found.billed else 0.0
    yield Number("kills", f"{name}: ledger above the invoice", above, "%", note="holds of killed attempts")
