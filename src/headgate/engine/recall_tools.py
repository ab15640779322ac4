"""What several parts of a recall need."""

from __future__ import annotations

from dataclasses import dataclass

from headgate.core.ports import Beside, Cache, Ports
from headgate.engine.books import Books
from headgate.engine.checking import Checking
from headgate.engine.flights import Flights
from headgate.engine.plan import Policies


@dataclass(frozen=True, slots=True)
class Tools:
    """Of one engine; `flights` are of both colours' together."""

    ports: Ports
    policies: Policies
    books: Books
    cache: Cache
    beside: Beside
    flights: Flights
    checking: Checking
