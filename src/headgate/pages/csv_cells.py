"""CSV that no spreadsheet acts on (OWASP, "CSV injection")."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

from starlette.responses import Response

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "＝", "＋", "－", "＠")
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def cell(text: object) -> str:
    """A stranger's text as a cell: one that would begin a formula begins with a `'`."""
    plain = _ODD.sub(lambda found: f"\\u{ord(found.group()):04x}", str(text))
    return f"'{plain}" if plain.lstrip(" '\"").startswith(_FORMULA) or str(text).startswith(_FORMULA) else plain


def attachment(name: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Response:
    """A CSV file to keep.

    Args:
        name: of the file, made by us.
        rows: numbers and our own texts as they are; strangers' through `cell` before.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(heads)
    writer.writerows(rows)
    return Response(
        out.getvalue().encode("utf-8", "replace"),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )
