"""A question in the store's own terms: which shapes, which keys of `posts`, and what rows are compared with."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate.stores.logs.lines import Shape
from headgate.stores.logs.posts import (
    CORRELATION,
    COST,
    EXTRA,
    GUARD,
    LATENCY,
    REQUEST,
    SESSION,
    TAG,
    USER,
    bucket_key,
    key_of,
)
from headgate.stores.logs.query import (
    ALIASES,
    ATTEMPT_FAILED,
    EXTRA_FIELDS,
    LEAST_FIELDS,
    SHARED_FIELDS,
    BadQuery,
    LogQuery,
)

_LARGEST_BITS = 63
_LARGEST_NUMBER = 1e15
_KINDS = {"request_id": REQUEST, "correlation_id": CORRELATION, "session": SESSION, "user": USER}
_SWITCHES = {"true": "True", "yes": "True", "on": "True", "false": "False", "no": "False", "off": "False"}
_WORDS = re.compile(r'(-?)(?:"([^"]*)"?|(\S+))')
_SHORTEST_BEGINNING = 3


@dataclass(slots=True)
class Filter:
    """What a row has to be.

    Attributes:
        shape: None: any will do.
        keys: of each of these, one at least.
        columns: conditions on columns of `log_rows`, as (SQL, value); a list is as many values.
        more: says of a row's `more` whether it will do; None: anything will.
        words: for the full-text index, as (not wanted, words in order, a beginning).
        since, until: seconds since the epoch.
        behind: only rows with a larger number than this; None: any.
    """

    shape: Callable[[Shape], bool] | None = None
    keys: list[list[int]] = field(default_factory=list)
    columns: list[tuple[str, Any]] = field(default_factory=list)
    more: Callable[[Mapping[str, Any]], bool] | None = None
    words: list[tuple[bool, str, bool]] = field(default_factory=list)
    since: float | None = None
    until: float | None = None
    behind: int | None = None
    exchange_id: str = ""


def filter_of(query: LogQuery) -> Filter:
    """What a question comes to.

    Raises:
        BadQuery: it cannot be asked so.
    """
    query.checked()
    found = Filter(since=query.since, until=query.until, words=words_of(query.text))
    shapes: list[Callable[[Shape], bool]] = []
    more: list[Callable[[Mapping[str, Any]], bool]] = []
    for told, value in query.fields.items():
        name = ALIASES.get(told, told)
        if name == "model":
            shapes.append(_either(("model_asked", "model_served"), value))
        elif name == ATTEMPT_FAILED:
            shapes.append(_attempt_failed(value))
        elif name == "min_waited_ms":
            more.append(_waited(_number(name, value)))
        elif name in LEAST_FIELDS:
            found.columns.append((f"{name.removeprefix('min_')} >= ?", _number(name, value)))
        elif name in SHARED_FIELDS:
            shapes.append(_is(name, value))
        elif name == "exchange_id":
            found.exchange_id = value
            found.columns.append(("exchange_id = ?", value))
        elif name in _KINDS:
            found.columns.append((f'"{name}" = ?', value))
            if value:
                found.keys.append([key_of(_KINDS[name], value)])
        else:
            more.append(_of_more(name, value))
            if value:
                found.keys.append([_key_of_more(name, value)])
    if query.tenant is not None:
        shapes.append(_is("tenant", query.tenant))
    if query.errors:
        shapes.append(lambda shape: shape.error)
    _amounts(query, found)
    if shapes:
        found.shape = lambda shape: all(each(shape) for each in shapes)
    if more:
        found.more = lambda told: all(each(told) for each in more)
    return found


def _amounts(query: LogQuery, found: Filter) -> None:
    if query.since is not None:
        found.columns.append(("at >= ?", query.since))
    if query.until is not None:
        found.columns.append(("at < ?", query.until))
    if query.min_cost_nano > 0:
        found.columns.append(("cost_nano >= ?", query.min_cost_nano))
        found.keys.append(_at_least(COST, query.min_cost_nano))
    if query.min_latency_ms > 0:
        found.columns.append(("latency_ms >= ?", query.min_latency_ms))
        found.keys.append(_at_least(LATENCY, int(query.min_latency_ms)))


def _at_least(kind: int, least: int) -> list[int]:
    return [kind << 32 | bits for bits in range(least.bit_length(), _LARGEST_BITS + 1)]


def _is(name: str, value: str) -> Callable[[Shape], bool]:
    place = SHARED_FIELDS.index(name)
    wanted = _SWITCHES.get(value.lower(), value) if name in ("stream", "estimated", "simulated") else value
    return lambda shape: str(shape.values[place]) == wanted


def _attempt_failed(value: str) -> Callable[[Shape], bool]:
    wanted = _SWITCHES.get(value.lower(), value) == "True"
    # A second attempt is there since the first has failed.
    return lambda shape: (shape.attempts > 1 or bool(shape.failed and shape.attempts)) == wanted


def _waited(least: float) -> Callable[[Mapping[str, Any]], bool]:
    return lambda more: float(more.get("waited_ms", 0.0)) >= least


def _number(name: str, value: str) -> float:
    try:
        found = float(value)
    except ValueError:
        found = -1.0
    if not 0.0 <= found <= _LARGEST_NUMBER:  # nan is neither
        raise BadQuery(f"{name} is a number from 0 on, like 5000")
    return found


def _either(names: Iterable[str], value: str) -> Callable[[Shape], bool]:
    places = [SHARED_FIELDS.index(name) for name in names]
    return lambda shape: any(shape.values[place] == value for place in places)


def _of_more(name: str, value: str) -> Callable[[Mapping[str, Any]], bool]:
    if name == "guard":
        return lambda more: any(value in (word, word.partition(":")[0]) for word in more.get("guards", ()))
    if name.startswith("tag:"):
        tag = name.removeprefix("tag:")
        return lambda more: more.get("tags", {}).get(tag, "") == value
    return lambda more: str(more.get(name, "")) == value


def _key_of_more(name: str, value: str) -> int:
    if name == "guard":
        return key_of(GUARD, value)
    if name.startswith("tag:"):
        return key_of(TAG, f"{name.removeprefix('tag:')}={value}")
    return key_of(EXTRA, f"{name}={value}")


def keys_of_row(
    session: str, user: str, request_id: str, correlation_id: str, cost: int, latency: float | None
) -> list[int]:
    """The keys of a row, but for its shape's and those of `more`."""
    found = [bucket_key(COST, cost if cost > 0 else 0)]
    if latency is not None:
        found.append(bucket_key(LATENCY, int(latency)))
    if user:
        found.append(key_of(USER, user))
    if session:
        found.append(key_of(SESSION, session))
    if request_id:
        found.append(key_of(REQUEST, request_id))
    if correlation_id:
        found.append(key_of(CORRELATION, correlation_id))
    return found


def keys_of_more(more: Mapping[str, Any]) -> set[int]:
    """The keys of what few exchanges have."""
    found: set[int] = set()
    for word in more.get("guards", ()):
        found.add(key_of(GUARD, word))
        found.add(key_of(GUARD, word.partition(":")[0]))
    for name, value in more.get("tags", {}).items():
        found.add(key_of(TAG, f"{name}={value}"))
    for name in EXTRA_FIELDS:
        if name in more:
            found.add(key_of(EXTRA, f"{name}={more[name]}"))
    return found


def words_of(text: str) -> list[tuple[bool, str, bool]]:
    """What is asked of the full text, as (not wanted, words in order, the last is a beginning).

    Raises:
        BadQuery: there is nothing but what is not wanted, or a beginning is too short.
    """
    found: list[tuple[bool, str, bool]] = []
    for match in _WORDS.finditer(text):
        quoted, plain = match[2], match[3]
        said = quoted if quoted is not None else plain
        beginning = quoted is None and said.endswith("*")
        said = said.rstrip("*").replace("\0", " ")
        letters = sum(ch.isalnum() for ch in said)
        if not letters:
            continue
        if beginning and letters < _SHORTEST_BEGINNING:
            raise BadQuery(f"the beginning of a word needs {_SHORTEST_BEGINNING} letters: {said}*")
        found.append((match[1] == "-", said, beginning))
    if text.strip() and not found:
        raise BadQuery("there is no word in what is to be found")
    if found and all(unwanted for unwanted, *_ in found):
        raise BadQuery("say at least one word that has to be there")
    return found


def fts5_expression(words: Iterable[tuple[bool, str, bool]]) -> str:
    """For SQLite's full-text index (https://www.sqlite.org/fts5.html#full_text_query_syntax): all of it quoted."""
    told = [
        (unwanted, '"' + said.replace('"', '""') + '"' + ("*" if beginning else ""))
        for unwanted, said, beginning in words
    ]
    expression = " AND ".join(said for unwanted, said in told if not unwanted)
    for unwanted, said in told:
        if unwanted:
            expression = f"({expression}) NOT {said}"
    return expression
