"""What became of each item: its value or its error, and what it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Generic, TypeVar, overload

from headgate.core.errors import HeadgateError
from headgate.core.exchange import Exchange
from headgate.core.money import usd
from headgate.refusals import refusal

T = TypeVar("T")


class DeadlinePassed(HeadgateError):
    """The run's deadline came before this item had ended, or before it was begun."""

    code = "deadline_passed"
    status_hint = 504


@dataclass(frozen=True, slots=True, eq=False)
class Outcome(Generic[T]):
    """How one item ended.

    Attributes:
        index: the item's place in the input, from 0.
        item: what `Gate.map` called its function with; of `headgate.gather`, the call itself.
        error: what was raised; None where it went well.
        cost_usd: of all exchanges that it made through a gate of this process; failed ones can cost money, too. An
            answer that is returned as an open stream is not in it: read streams inside the call.
        estimated: part of the cost is an estimate.
        attempts: requests sent to providers for it.
        exchanges: their ids, as in the ledger; empty where nothing went through a gate of this process.
    """

    index: int
    item: Any
    _value: T | None = None
    error: BaseException | None = None
    cost_usd: Decimal = field(default_factory=Decimal)
    estimated: bool = False
    attempts: int = 0
    exchanges: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """It went well, and has a value."""
        return self.error is None

    @property
    def value(self) -> T:
        """What the call returned.

        Raises:
            BaseException: what the call raised, if it did.
        """
        if self.error is not None:
            raise self.error
        return self._value  # type: ignore[return-value]  # None only where the call has returned None

    @property
    def exchange_id(self) -> str:
        """The last exchange's id, "" without one."""
        return self.exchanges[-1] if self.exchanges else ""

    def __repr__(self) -> str:
        # Neither the item nor the value: they are people's texts, and reprs end up in logs.
        how = "ok" if self.error is None else reason(self.error)
        return f"<Outcome {self.index}: {how}, ${self.cost_usd} in {self.attempts} attempts>"


def ended(
    index: int, item: Any, seen: Sequence[Exchange], *, value: T | None = None, error: BaseException | None = None
) -> Outcome[T]:
    """The outcome of an item whose exchanges were `seen`."""
    return Outcome(
        index,
        item,
        value,
        error,
        usd(sum(each.cost_nano for each in seen)),
        any(each.estimated for each in seen),
        sum(len(each.attempts) for each in seen),
        tuple(each.id for each in seen),
    )


def reason(error: BaseException) -> str:
    """An error in one word: Headgate's own code where Headgate refused, else its class."""
    refused = refusal(error)
    if refused is not None:
        return refused.code
    return error.code if isinstance(error, HeadgateError) else type(error).__name__


class Outcomes(Sequence[Outcome[T]]):
    """What became of a run's items, in the order of the items. `print` it for a summary."""

    def __init__(self, outcomes: Iterable[Outcome[T]], again: Callable[[list[Any]], Any]) -> None:
        """
        Args:
            again: makes a run over some of the items.
        """
        self._all = sorted(outcomes, key=lambda each: each.index)
        self._again = again

    @property
    def ok(self) -> list[Outcome[T]]:
        """Those that went well."""
        return [each for each in self._all if each.error is None]

    @property
    def failed(self) -> list[Outcome[T]]:
        """Those that did not."""
        return [each for each in self._all if each.error is not None]

    @property
    def cost_usd(self) -> Decimal:
        """Of all of them, failed ones too: see `Outcome.cost_usd`."""
        return sum((each.cost_usd for each in self._all), Decimal(0))

    @property
    def estimated(self) -> bool:
        """Part of the cost is an estimate."""
        return any(each.estimated for each in self._all)

    @property
    def attempts(self) -> int:
        """Requests sent to providers."""
        return sum(each.attempts for each in self._all)

    @property
    def errors(self) -> Counter[str]:
        """Why items failed, and how many: Headgate's code where Headgate refused, else the error's class."""
        return Counter(reason(each.error) for each in self._all if each.error is not None)

    @property
    def summary(self) -> str:
        """One line: how many went well, why the others did not, and what it cost."""
        failed = self.errors
        said = f"{len(self) - failed.total():,} of {len(self):,} ok"
        if failed:
            said += ", failed: " + ", ".join(f"{count:,} {why}" for why, count in failed.most_common())
        cost = f"{self.cost_usd:f}".rstrip("0").rstrip(".") if self.cost_usd else "0"
        if self.ok and not any(each.exchanges for each in self._all):  # 0 USD would be a lie
            return f"{said}; no call went through a gate of this process"
        return f"{said}; {cost} USD in {self.attempts:,} attempts"

    @overload
    def __getitem__(self, at: int) -> Outcome[T]: ...
    @overload
    def __getitem__(self, at: slice) -> list[Outcome[T]]: ...
    def __getitem__(self, at: int | slice) -> Outcome[T] | list[Outcome[T]]:
        return self._all[at]

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Outcome[T]]:
        return iter(self._all)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.summary}>"

    def __str__(self) -> str:
        return self.summary

    def _to_retry(self, only: Callable[[Outcome[T]], bool] | None) -> list[Outcome[T]]:
        return [each for each in self.failed if only is None or only(each)]

    def _with(self, before: Sequence[Outcome[T]], after: Iterable[Outcome[T]]) -> list[Outcome[T]]:
        """All of them, with what was tried again in its place. What the first try has cost is still spent."""
        found = {each.index: each for each in self._all}
        for old, new in zip(before, after, strict=True):
            found[old.index] = replace(
                new,
                index=old.index,
                cost_usd=old.cost_usd + new.cost_usd,
                estimated=old.estimated or new.estimated,
                attempts=old.attempts + new.attempts,
                exchanges=old.exchanges + new.exchanges,
            )
        return list(found.values())
