"""When a task goes to a cheaper model, and when it comes back: by answers that were compared. No I/O, no clock."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WATCHING, SWITCHED, BACK = "watching", "switched", "back"
"""States: the task's own model serves and is compared; the other one serves and is compared; it served, and was not
good enough: the task's own model serves, and nothing is compared until somebody begins anew."""

EXACT, SCHEMA, JUDGE = "exact", "schema", "judge"
SAME, DIFFERENT, FAILED = "same", "different", "failed"


@dataclass(frozen=True, slots=True)
class ShadowRules:
    """`tasks.<name>.shadow`.

    Attributes:
        task: whose.
        model: the cheaper one: a virtual model, provider/model or a plain name.
        sample_basis_points: of calls, 1..10,000.
        compare: EXACT, SCHEMA or JUDGE.
        judge: the model that judges; "" unless `compare` is JUDGE.
        until: comparisons before anything is decided, and those that are looked at after a switch; 20..50,000.
        agreement_basis_points: of comparisons that have to agree, 1..10,000.
        auto: it switches by itself; else a person does.
        day_nano: nano-dollars that comparing may cost per UTC day, judging included.
    """

    task: str
    model: str
    sample_basis_points: int = 500
    compare: str = EXACT
    judge: str = ""
    until: int = 200
    agreement_basis_points: int = 9_500
    auto: bool = False
    day_nano: int = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Counted:
    """Comparisons of one state: how many said the same, how many did not, and how many could not be made."""

    same: int = 0
    different: int = 0
    failed: int = 0

    @property
    def compared(self) -> int:
        """Those that count."""
        return self.same + self.different


def samples(rules: ShadowRules, state: str, counted: Counted, *, spent_nano: int) -> bool:
    """Whether calls are still to be compared.

    Args:
        counted: of this state.
        spent_nano: today, on comparing.
    """
    if state == BACK or spent_nano >= rules.day_nano:
        return False
    return state == SWITCHED or counted.compared < rules.until


def enough(rules: ShadowRules, counted: Counted) -> bool:
    """As many agree as have to, of as many as are wanted."""
    met = counted.same * 10_000 >= counted.compared * rules.agreement_basis_points
    return counted.compared >= rules.until and met


def next_state(rules: ShadowRules, state: str, counted: Counted, latest: Sequence[bool]) -> str:
    """What follows, by itself.

    Args:
        counted: of this state.
        latest: whether they agreed, the `until` last comparisons of this state or fewer.
    """
    if state == WATCHING and rules.auto and enough(rules, counted):
        return SWITCHED
    if state == SWITCHED:
        # As soon as the last `until` can no longer be good enough, however many of them are there.
        allowed = rules.until * (10_000 - rules.agreement_basis_points)
        if sum(not same for same in latest) * 10_000 > allowed:
            return BACK
    return state


def interval(same: int, compared: int) -> tuple[float, float]:
    """Wilson's interval of a share, at 95%; (0, 1) for none (E. B. Wilson, JASA 22, 1927)."""
    if compared == 0:
        return 0.0, 1.0
    z, share = 1.959963984540054, same / compared
    scale = 1 + z * z / compared
    middle = (share + z * z / (2 * compared)) / scale
    reach = z * math.sqrt(share * (1 - share) / compared + z * z / (4 * compared * compared)) / scale
    return max(0.0, middle - reach), min(1.0, middle + reach)
