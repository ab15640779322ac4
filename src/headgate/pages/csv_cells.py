"""CSV files out of pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from starlette.responses import Response

from headgate.core.csv_lines import csv_line

_END = "\r\n"


def attachment(name: str, heads: Sequence[str], rows: Iterable[tuple[Iterable[str], Iterable[object]]]) -> Response:
    """A CSV file to keep.

    Args:
        name: of the file, made by us.
        rows: the texts of each, then its figures: `csv_line`.
    """
    lines = [csv_line(heads, end=_END), *(csv_line(texts, figures, end=_END) for texts, figures in rows)]
    return Response(
        "".join(lines).encode("utf-8", "replace"),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )
