"""A file of requests becomes a batch: read line by line, checked, written in groups. It is never held as a whole."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from headgate.core.caller import Caller
from headgate.core.errors import BadRequest, ConfigError
from headgate.jobs.holding import Grouping
from headgate.jobs.requests import Cost, caller_facts, caller_of, cost_of, request_of
from headgate.policy.batching import VENDORS, choose_via
from headgate.stores.batch_items import BROKEN, SAME, WAITING, Batch, BatchStore
from headgate.wire import DIALECTS
from headgate.wire.batch_lines import MAX_LINE_BYTES, Broken, Line, dialect_of, read_line

if TYPE_CHECKING:
    from headgate.build import Built

Source = str | Path | Iterable[Mapping[str, Any] | bytes | str]
"""A JSONL file, or its lines: as mappings, or as text."""

AT_ONCE = 500  # rows of one transaction
VIAS = ("auto", "paced", "provider")
DEDUPES = ("auto", "always", "never")
_ID_BYTES = 8
_LOOKED_AHEAD = 100  # lines in search of one that tells whose dialect it is

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Terms:
    """How a batch is to go.

    Attributes:
        via: "paced": call after call, at the provider's rate limit; "provider": the provider's own batches, at half the
            price; "auto": by size and deadline.
        dialect: "anthropic" or "openai"; "" = as the lines tell.
        model: in place of every line's own; "" = their own.
        deadline_seconds: from now; afterwards nothing is begun. None = none.
        hold: set money aside for all of it before the first line goes, where budgets apply.
        dedupe: lines that ask the same are answered once: "always"; "auto": where they ask for `temperature: 0`, so
            that another answer would be no other; "never".

    Raises:
        ConfigError: one of them is none of these.
    """

    via: str = "auto"
    dialect: str = ""
    model: str = ""
    deadline_seconds: float | None = None
    hold: bool = True
    dedupe: str = "auto"

    def __post_init__(self) -> None:
        if self.via not in VIAS:
            raise ConfigError(f"via: {self.via!r} is none of {', '.join(VIAS)}")
        if self.dialect not in ("", *DIALECTS):
            raise ConfigError(f"dialect: {self.dialect!r} is neither anthropic nor openai")
        if self.dedupe not in DEDUPES:
            raise ConfigError(f"dedupe: {self.dedupe!r} is none of {', '.join(DEDUPES)}")
        if self.deadline_seconds is not None and not self.deadline_seconds > 0:
            raise ConfigError(f"deadline: {self.deadline_seconds!r} is not a number of seconds above 0")


@dataclass(slots=True)
class Submitted:
    """What became of a file.

    Attributes:
        id: of the batch.
        lines: that can be run; `same` of them are answered with another one.
        broken: (line, why) of the first that cannot be; `broken_count` of all.
        via, why: the way it goes, and why where `auto` has chosen.
        most_nano: the most that it can cost, nano-dollars; None = some line has no bound.
    """

    id: str
    lines: int = 0
    same: int = 0
    broken_count: int = 0
    broken: list[tuple[int, str]] = field(default_factory=list)
    via: str = ""
    why: str = ""
    most_nano: int | None = 0


_BROKEN_SHOWN = 20


def submit(built: Built, store: BatchStore, source: Source, terms: Terms, caller: Caller) -> Submitted:
    """Read all of `source`, and write it down. Blocks; sends nothing.

    Raises:
        ConfigError: there is no such file, no line of it tells whose dialect it is, or none can be run.
        Unavailable: it cannot be written.
    """
    now = built.engine.ports.clock.now()
    lines, dialect = _begin(source, terms.dialect)
    name = str(Path(source).name) if isinstance(source, str | Path) else "lines"
    batch_id = f"batch_{secrets.token_hex(_ID_BYTES)}"
    deadline = None if terms.deadline_seconds is None else now + terms.deadline_seconds
    batch = Batch(batch_id, name, dialect, "", "reading", now, None, deadline, terms.hold, caller_facts(caller))
    store.create(batch)
    try:
        reading = _Reading(built, store, batch, terms, now)
        reading.all(lines)
    except BaseException:
        store.remove(batch_id)
        raise
    told = reading.told
    if not told.lines:
        store.remove(batch_id)
        first = f": line {told.broken[0][0]}: {told.broken[0][1]}" if told.broken else ""
        raise ConfigError(f"{name}: no line of it can be run{first}")
    told.via, told.why = terms.via, ""
    if told.via == "auto":
        told.via, told.why = choose_via(told.lines, terms.deadline_seconds, has_batches=reading.has_batches)
    elif told.via == "provider" and not reading.has_batches:
        store.remove(batch_id)
        raise ConfigError("via provider: a line's model is served by a provider that takes no batches; `--via paced`")
    store.change(batch_id, via=told.via, state="ready")
    return told


def _begin(source: Source, dialect: str) -> tuple[Iterator[tuple[int, bytes]], str]:
    lines = _numbered(source)
    ahead: list[tuple[int, bytes]] = []
    while not dialect and len(ahead) < _LOOKED_AHEAD:
        one = next(lines, None)
        if one is None:
            break
        ahead.append(one)
        dialect = dialect_of(one[1])
    if not dialect:
        first = "it is empty" if not ahead else "no line has `params` (Anthropic's) or `body` (OpenAI's)"
        raise ConfigError(f"this is no file of batch requests: {first}")
    return chain(ahead, lines), dialect


def _numbered(source: Source) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers."""
    if isinstance(source, str | Path):
        try:
            file = Path(source).open("rb")  # noqa: SIM115 -- closed by `_of_file`, which outlives this call
        except OSError as error:
            raise ConfigError(f"{source} cannot be read: {error.strerror}") from error
        return _of_file(file)
    return ((number, _as_line(each)) for number, each in enumerate(source, 1))


def _as_line(told: Mapping[str, Any] | bytes | str) -> bytes:
    if isinstance(told, bytes):
        return told.strip()
    return told.strip().encode() if isinstance(told, str) else _encode(told)


def _of_file(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    with file:
        number = 0
        while raw := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(raw) > MAX_LINE_BYTES and not raw.endswith(b"\n"):
                while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                    pass  # the rest of a line that is too long for anybody
                yield number, raw
                continue
            if number == 1 and raw.startswith(b"\xef\xbb\xbf"):
                raw = raw[3:]
            if raw.strip():
                yield number, raw.strip()


class _Reading:
    """One file on its way into the store."""

    def __init__(self, built: Built, store: BatchStore, batch: Batch, terms: Terms, now: float) -> None:
        self.told = Submitted(batch.id)
        self.has_batches = True
        self._built = built
        self._store = store
        self._batch = batch
        self._terms = terms
        self._now = now
        self._dialect = DIALECTS[batch.dialect]
        self._grouping = Grouping(built, store, batch)
        self._ids: dict[bytes, int] = {}  # of custom ids: where each was first; 16 bytes stand for any length
        self._asked: dict[bytes, int] = {}  # what is asked: the place of the first that does
        self._place = 0

    def all(self, lines: Iterable[tuple[int, bytes]]) -> None:
        rows: list[dict[str, Any]] = []
        for number, raw in lines:
            rows.append(self._row(number, raw))
            self._place += 1
            if len(rows) >= AT_ONCE:
                self._store.add(self._batch.id, rows)
                rows = []
        self._store.add(self._batch.id, rows)
        self._grouping.write()

    def _row(self, number: int, raw: bytes) -> dict[str, Any]:
        line = read_line(number, raw, self._dialect, model=self._terms.model)
        if isinstance(line, Line):
            known = hashlib.blake2b(line.custom_id.encode(), digest_size=16).digest()
            first = self._ids.setdefault(known, number)
            if first == number:
                return self._good(line)
            line = Broken(number, line.custom_id, f"custom_id: line {first} has the same; each line needs its own")
        told = self.told
        told.broken_count += 1
        if len(told.broken) < _BROKEN_SHOWN:
            told.broken.append((number, line.reason))
        return {
            "place": self._place,
            "line": number,
            "custom_id": line.custom_id,
            "state": BROKEN,
            "reason": f"line {number}: {line.reason}",
        }

    def _good(self, line: Line) -> dict[str, Any]:
        told = self.told
        told.lines += 1
        row: dict[str, Any] = {
            "place": self._place,
            "line": line.number,
            "custom_id": line.custom_id,
            "state": WAITING,
            "url": line.url,
            "digest": line.digest,
            "body": line.body,
        }
        if self._may_share(line):
            first = self._asked.setdefault(line.digest, self._place)
            if first != self._place:
                told.same += 1
                return {**row, "state": SAME, "same_as": first, "body": b""}
        caller = caller_of(self._batch.caller, self._batch.id, line.facts.user)
        request = request_of(self._batch.id, self._batch.dialect, line.number, line.url, line.body, caller, line.facts)
        cost = cost_of(self._built, request, self._now)
        self._note(cost)
        if cost is not None and cost.nano is not None:
            row |= {"bound_nano": cost.nano, "bound_tokens": cost.tokens}
        row["hold"] = self._grouping.add(line, caller, cost)
        return row

    def _may_share(self, line: Line) -> bool:
        said = self._terms.dedupe
        return said == "always" or (said == "auto" and b'"temperature"' in line.body and _is_cold(line.body))

    def _note(self, cost: Cost | None) -> None:
        told = self.told
        if cost is None or cost.nano is None:
            told.most_nano = None
        elif told.most_nano is not None:
            told.most_nano += cost.nano
        if cost is None or cost.route.provider not in VENDORS or cost.route.dialect != self._batch.dialect:
            self.has_batches = False


class _Temperature(msgspec.Struct):
    temperature: Any = None


def _is_cold(body: bytes) -> bool:
    try:
        told = msgspec.json.decode(body, type=_Temperature).temperature
    except msgspec.DecodeError as error:  # it was read as a mapping a moment ago
        raise BadRequest("the request cannot be read") from error
    return told == 0 and not isinstance(told, bool)
