"""The log store: whether there is one, how far it is behind the JSON lines, and how large it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from headgate.cli.doctor_report import NOTE, OK, WARNING, Finding
from headgate.core.errors import HeadgateError

if TYPE_CHECKING:
    from headgate.settings.model import Settings

_MUCH = 8 * 1024**2


def check_logs(settings: Settings) -> Iterator[Finding]:
    """Looks at files, and changes none."""
    from headgate.settings.log import log_place_of
    from headgate.stores.logs.lock import worker_of
    from headgate.stores.logs.sqlite_reader import NoLogStore
    from headgate.stores.opening import is_postgres_url, log_store_file

    place = log_place_of(settings)
    if place.why_not:
        yield Finding("log", NOTE, f"exchanges cannot be searched: {place.why_not}")
        return
    try:
        reader = place.reader()
        try:
            span, behind = reader.span(), reader.behind(str(place.spool))
        finally:
            reader.close()
    except NoLogStore:
        yield Finding("log", OK, "there is no log store yet: it is made when exchanges are logged")
        return
    except HeadgateError as error:
        yield Finding("log", WARNING, error.message)
        return
    size = 0 if is_postgres_url(settings.storage) else log_store_file(settings.storage).stat().st_size
    megabytes = f", {size / 1024**2:,.1f} MiB" if size else ""
    yield Finding("log", OK, f"the log store holds exchanges{megabytes}" if span else "the log store is empty")
    if behind > _MUCH:
        worker = worker_of(place.lock_file)
        what = f"{behind / 1024**2:,.1f} MiB of JSON lines are not in the log store yet"
        advice = f"process {worker} is at it" if worker else "`headgate serve`, or any search, takes them in"
        yield Finding("log", WARNING if worker else NOTE, what, advice)
