"""A form's fields, as browsers send them."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.requests import Request

from headgate.core.errors import BadRequest

_MOST_FIELDS = 200


async def form(request: Request) -> dict[str, str]:
    """The fields of a form, without its CSRF token. The last one of a name counts.

    Raises:
        BadRequest: it is not `application/x-www-form-urlencoded` in UTF-8.
    """
    from headgate.control.entry import CSRF_FIELD

    try:
        text = (await request.body()).decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise BadRequest("The form cannot be read.") from None
    return {name: value for name, value in pairs if name != CSRF_FIELD}
