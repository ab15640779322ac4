"""Whether a text is SQL, by sqlglot (extra `guards`). It is parsed, and never run."""

from __future__ import annotations

import logging
import threading

MAX_SQL = 32_000
"""Characters: the parser takes about 10 ms for 1,000."""

_here = threading.local()


class _Silence(logging.Filter):
    """Drops what the parser logs while we use it, for it logs the statement itself. Of this thread only."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(_here, "parses", False)


_silence = _Silence()


def mistake(text: str) -> tuple[str, str] | None:
    """(place, detail) of the first mistake; None where every statement is one that the parser knows.

    sqlglot takes any two words for an expression with a name, and falls back to keeping a statement unread; neither
    counts as SQL here, so EXPLAIN, SHOW and CALL do not.

    Raises:
        ImportError: sqlglot is not installed.
    """
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import ParseError, SqlglotError

    if len(text) > MAX_SQL:
        return "", f"it is longer than {MAX_SQL} characters"
    logging.getLogger("sqlglot").addFilter(_silence)  # the same filter is added only once
    _here.parses = True
    try:
        parsed = sqlglot.parse(text)
    except ParseError as error:
        first = error.errors[0] if error.errors else {}
        line, column = first.get("line"), first.get("col")
        place = f"line {line}, column {column}" if line and column else ""
        return place, str(first.get("description") or "it does not parse")[:300]
    except SqlglotError:
        return "", "it does not parse: is a quote left open?"
    except RecursionError:
        return "", "it nests too deeply"
    finally:
        _here.parses = False
    statements = [each for each in parsed if each is not None]
    if not statements:
        return "", "there is no statement"
    known = (
        *(exp.Query, exp.DML, exp.DDL, exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create, exp.Drop, exp.Alter),
        *(exp.TruncateTable, exp.Transaction, exp.Commit, exp.Rollback, exp.Grant, exp.Pragma, exp.Set, exp.Use),
        exp.Describe,
    )
    for number, each in enumerate(statements, 1):
        if not isinstance(each, known):
            return f"statement {number}", "it is no statement that can be parsed"
    return None
