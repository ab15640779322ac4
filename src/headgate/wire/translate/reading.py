"""JSON in and out for translation, and readers that say in words which place of a body is wrong."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import msgspec

from headgate.core.errors import BadRequest
from headgate.wire import jsontext

Json = dict[str, Any]

_WORDS = {
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "an array",
    dict: "an object",
}
_MAX_WHERE = 120  # characters of a place in a message: keys are the caller's


def load(body: bytes) -> Json:
    """A request body.

    Raises:
        BadRequest: bad UTF-8, malformed JSON, a number that is none, too deep, or not an object.
    """
    if jsontext.too_deep(body):
        raise BadRequest(f"the request body nests deeper than {jsontext.MAX_DEPTH} levels")
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = _load_slowly(body)  # it says what is wrong, or reads a lone surrogate
    return table(value, "the request body")


def _load_slowly(body: bytes) -> Any:
    try:
        decoded = body.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"the request body is not valid UTF-8 at byte {error.start}") from None
    try:
        return parse(decoded)
    except RecursionError:
        raise BadRequest(f"the request body nests deeper than {jsontext.MAX_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"the request body is not valid JSON: {error.msg} at character {error.pos}") from None
    except ValueError as error:
        raise BadRequest(f"the request body is not valid JSON: {error}") from None


def parse(text: str) -> Any:
    """JSON as RFC 8259 has it: no NaN, and no number beyond a float's range.

    Raises:
        ValueError: it is none.
        RecursionError: it nests too deep to be read.
    """
    return _decoder.decode(text)


def dump(value: Any) -> bytes:
    """JSON as both vendors write it. A lone surrogate, which JSON can hold and UTF-8 cannot, stays an escape."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def string(value: str) -> bytes:
    """One JSON string."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value).encode()


def table(value: Any, where: str) -> Json:
    """An object.

    Raises:
        BadRequest: it is something else. The same holds for the other readers.
    """
    if isinstance(value, dict):
        return value
    raise _wrong(value, where, "an object")


def array(value: Any, where: str) -> list[Any]:
    """An array."""
    if isinstance(value, list):
        return value
    raise _wrong(value, where, "an array")


def text(value: Any, where: str) -> str:
    """A string."""
    if isinstance(value, str):
        return value
    raise _wrong(value, where, "a string")


def filled(value: Any, where: str) -> str:
    """A string that is not empty."""
    if isinstance(value, str) and value:
        return value
    raise _wrong(value, where, "a string that is not empty")


def flag(value: Any, where: str) -> bool:
    """True or false."""
    if isinstance(value, bool):
        return value
    raise _wrong(value, where, "true or false")


def number(value: Any, where: str) -> int | float:
    """A number."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise _wrong(value, where, "a number")


def cap(value: Any, where: str) -> int:
    """A number of tokens, at least 1."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise _wrong(value, where, "an integer of at least 1")


def one_of(value: Any, choices: tuple[str, ...], where: str) -> str:
    """A word of these."""
    if isinstance(value, str) and value in choices:
        return value
    raise BadRequest(f"`{where[:_MAX_WHERE]}` must be one of {', '.join(choices)}")


def _wrong(value: Any, where: str, wanted: str) -> BadRequest:
    place = where if where == "the request body" else f"`{where[:_MAX_WHERE]}`"
    got = _WORDS.get(type(value), "nothing") if value != "" else "an empty one"
    return BadRequest(f"{place} must be {wanted}, not {got}")


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _finite(digits: str) -> float:
    read = float(digits)
    if math.isinf(read):
        raise ValueError("a number is too large")
    return read


_decoder = json.JSONDecoder(parse_constant=_no_number, parse_float=_finite)
