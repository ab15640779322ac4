"""The query of a control API's path."""

from __future__ import annotations

from urllib.parse import parse_qsl

from headgate.core.errors import BadRequest


def parameters(query: bytes, known: tuple[str, ...], *, blank: bool = False) -> dict[str, str]:
    """The parameters of a query, each of them known and there once.

    Args:
        blank: whether one without a value is there, as "".

    Raises:
        BadRequest: it cannot be read, or holds something else.
    """
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=blank,
            strict_parsing=bool(query),
            errors="strict",
            max_num_fields=8,
        )
    except ValueError:
        raise BadRequest("The query cannot be read: percent-encoded UTF-8 is expected, name=value.") from None
    told = dict(pairs)
    if len(told) != len(pairs) or not set(told) <= set(known):
        raise BadRequest(f"Only {' and '.join(known)} are known in the query, each once.")
    return told
