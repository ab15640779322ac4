"""CSV for spreadsheets: every file of ours is made of these lines."""

from __future__ import annotations

from collections.abc import Iterable

from headgate.core.text import csv_cell


def csv_line(texts: Iterable[object], figures: Iterable[object] = (), *, end: str = "\n") -> str:
    """One line. Every text is in quotes: which sign parts the cells is up to who reads them.

    Args:
        texts: each `str` through `csv_cell`, since strangers write such; numbers as they are, None as nothing.
        figures: behind them, numbers and money of ours: below zero they begin with a sign.
        end: of the line.
    """
    told = [_quoted(csv_cell(each)) if isinstance(each, str) else _plain(each) for each in texts]
    return ",".join([*told, *map(_plain, figures)]) + end


def _quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def _plain(figure: object) -> str:
    return "" if figure is None else str(figure)
