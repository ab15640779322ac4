"""Batches of a gate: what `Gate` has of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate.build import Built
    from headgate.jobs.batch import BatchJob
    from headgate.jobs.submitting import Source, Submitted
    from headgate.stores.batch_items import BatchStore


class Batches:
    """A part of `Gate`."""

    _built: Built

    def batch(
        self,
        source: Source,
        *,
        via: str = "auto",
        dialect: str = "",
        model: str = "",
        deadline: float | None = None,
        hold: bool = True,
        dedupe: str = "auto",
    ) -> BatchJob:
        """Read a file of requests, or an iterable of them, and write it down as a batch; nothing is sent before its
        `run`. Blocks. Attribution (`headgate.caller`) is that of where this is called. See docs/batches.md:

            job = gate.batch("prompts.jsonl")
            print(job.run().cost_usd)
            job.write("answers.jsonl")

        Args:
            source: JSONL: Anthropic's `{custom_id, params}` or OpenAI's `{custom_id, method, url, body}` per line.
            via: "provider" (its own batches, half the price), "paced" (call after call, at its rate limit), or "auto".
            dialect: "anthropic" or "openai"; "" = as the lines tell.
            model: in place of every line's own.
            deadline: seconds from now; afterwards nothing is begun.
            hold: set money aside for all of it before the first line goes, where budgets apply.
            dedupe: answer lines that ask the same once: "always"; "auto": where they ask for `temperature: 0`; "never".

        Raises:
            ConfigError: an argument is out of range, or no line can be run.
            Unavailable: it cannot be written.
        """
        from headgate.jobs.submitting import Terms, submit
        from headgate.transport.context import current_caller

        store = self.batches
        told = submit(self._built, store, source, Terms(via, dialect, model, deadline, hold, dedupe), current_caller())
        return self._job(store, told.id, told)

    def open_batch(self, batch_id: str) -> BatchJob:
        """A batch that was submitted before, by its id or the beginning that no other has.

        Raises:
            ConfigError: there is none.
        """
        from headgate.jobs.batch import found

        store = self.batches
        return self._job(store, found(store, batch_id).id, None)

    def _job(self, store: BatchStore, batch_id: str, submitted: Submitted | None) -> BatchJob:
        from headgate.jobs.batch import BatchJob

        return BatchJob(self._built, store, batch_id, submitted)

    @property
    def batches(self) -> BatchStore:
        """Batches and their lines, on record."""
        from headgate.stores.batch_items import BatchStore

        return BatchStore(self._built.jobs)
