"""Results of a batch: a line for each line of the input, in its order, in the vendor's own format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from headgate.stores.batch_items import BROKEN, CANCELLED, DONE, FAILED, SAME, Batch, BatchStore, Item
from headgate.wire.batch_lines import errored, not_run, succeeded

AT_ONCE = 200  # items in memory


def result_lines(store: BatchStore, batch: Batch) -> Iterator[bytes]:
    """As the vendor's results, without line ends. What is not over yet has no line: there are fewer then.

    Raises:
        Unavailable: they cannot be read.
    """
    after = -1
    while True:
        page = store.page(batch.id, after=after, limit=AT_ONCE)
        if not page:
            return
        after = page[-1].place
        leaders = store.at(batch.id, [each.same_as for each in page if each.state == SAME and each.same_as is not None])
        for item in page:
            line = _line(batch, item, leaders)
            if line is not None:
                yield line


def _line(batch: Batch, item: Item, leaders: dict[int, Item]) -> bytes | None:
    said = item
    if item.state == SAME and item.same_as is not None:
        said = leaders.get(item.same_as, item)
    dialect, name = batch.dialect, item.custom_id
    if said.state == DONE:
        return succeeded(dialect, name, said.status, said.result or b"{}", said.request_id)
    if said.state == FAILED:
        if said.result:
            return errored(dialect, name, said.status, said.result, said.request_id)
        return not_run(dialect, name, "expired" if "expired" in said.reason else "invalid", said.reason)
    if said.state == BROKEN:
        return not_run(dialect, name, "invalid", said.reason)
    if said.state == CANCELLED:
        return not_run(dialect, name, "canceled", said.reason)
    return None


def failures(store: BatchStore, batch: Batch, *, limit: int) -> Sequence[Item]:
    """The first that have failed, or could not be read."""
    return store.page(batch.id, limit=limit, states=(FAILED, BROKEN))
