"""What several parts of a recall need."""

from __future__ import annotations

from dataclasses import dataclass

from headgate.core.ports import Beside, Cache, Ports
from headgate.engine.books import Books
from headgate.engine.checking import Checking
from headgate.engine.flights import Flights
from headgate.engine.plan import Policies


@dataclass(frozen=True, slots=True, kw_only=True)
class Giving:
    """What giving a kept answer needs, of one engine."""

    policies: Policies
    books: Books
    checking: Checking


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools(Giving):
    """Of one engine; `flights` are of both colours' together."""

    ports: Ports
    cache: Cache
    beside: Beside
    flights: Flights
