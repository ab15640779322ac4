"""Models compared on live calls (docs/shadow.md): a sample is answered by a second model too, after the caller has its
answer, and decides which of them serves.

`Shadows.tasks` stands between the engine and its tasks; as a `core.ports.Witness` it sees the callers' answers.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from headgate.background import Background
from headgate.core.caller import Caller
from headgate.core.errors import ConfigError, HeadgateError
from headgate.core.exchange import Exchange, Request
from headgate.core.ports import Substitute
from headgate.engine.blocking import run_blocking
from headgate.policy.caching import unfit
from headgate.policy.comparing import Said, exact, judge_request, judged, same_shape
from headgate.policy.shadowing import (
    BACK,
    DIFFERENT,
    FAILED,
    JUDGE,
    SAME,
    SWITCHED,
    WATCHING,
    ShadowRules,
    next_state,
    samples,
)
from headgate.settings.shadow import shadow_rules
from headgate.stores.opening import shadow_file
from headgate.stores.shadow_file import Outcome, ShadowFile
from headgate.wire import DIALECTS
from headgate.wire.endings import endings
from headgate.wire.said import said
from headgate.wire.segments import segments

if TYPE_CHECKING:
    from headgate.engine.engine import Engine
    from headgate.engine.plan import TaskPolicy
    from headgate.policy.guards.rules import GuardRules
    from headgate.settings.model import Settings

OF = "shadow:"
"""How the tasks of calls begin that are made for comparing."""
JUDGES = "shadow-judge:"
SIMILAR = "similar:"
"""Of calls for vectors (`headgate.similar`)."""
DAY = 86_400.0
LOOK_SECONDS = 5.0
"""How often a process looks for what others, or a person, have decided."""
MOST_BYTES = 256 * 1024
"""Of a request that is compared, and of its answer: what waits is kept in memory."""
_COMPARED = frozenset({"messages", "chat", "responses"})


@dataclass(slots=True)
class _Now:
    """What this process knows of one task."""

    rules: ShadowRules
    state: str = WATCHING
    sampling: bool = False


class Shadows:
    """Shared by both colours. `engine` is the blocking one's, and is to be set.

    Args:
        rules: by task.
        now: seconds since the epoch.
        draw: uniformly from [0, 1).
        mark: a word that nobody can guess.
        tell: the log's `event`.
    """

    def __init__(
        self,
        rules: Mapping[str, ShadowRules],
        file: ShadowFile,
        background: Background,
        *,
        now: Callable[[], float],
        draw: Callable[[], float],
        mark: Callable[[], str],
        tell: Callable[..., None],
    ) -> None:
        self._of = {name: _Now(each) for name, each in rules.items()}
        self._file = file
        self._background = background
        self._now = now
        self._draw = draw
        self._mark = mark
        self._tell = tell
        self._look_at = 0.0
        self.engine: Engine | None = None

    def tasks(self, inner: Callable[[str], TaskPolicy]) -> Callable[[str], TaskPolicy]:
        """The engine's tasks: one that was switched goes to the other model, and so do the calls for comparing."""

        def found(name: str) -> TaskPolicy:
            here = self._of.get(name)
            if here is not None:
                if not self._look_at:  # once, and in place: the model is to serve that was decided for before
                    self._look_at = self._now() + LOOK_SECONDS
                    self._look()
                own = inner(name)
                return own if here.state != SWITCHED else replace(own, model=here.rules.model)
            if name.startswith(OF) and name[len(OF) :] in self._of:
                here, own = self._of[name[len(OF) :]], inner(name[len(OF) :])
                other = own.model if here.state == SWITCHED else here.rules.model
                return replace(own, model=other, ladder=(), answer=None)
            return replace(inner(""), ladder=()) if name.startswith(JUDGES) else inner(name)

        return found

    def wants(self, exchange: Exchange) -> bool:
        """See `core.ports.Witness`."""
        request = exchange.request
        here = self._of.get(request.caller.task)
        if here is None:
            return False
        now = self._now()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._background.offer(self._look)
        if not here.sampling or request.endpoint not in _COMPARED or len(request.body) > MOST_BYTES:
            return False
        facts = request.facts
        if facts.state or facts.keeps or facts.server_side or facts.background or facts.choices > 1:
            return False  # asking for it again would have effects, or is not the same question
        return self._draw() * 10_000 < here.rules.sample_basis_points

    def saw(self, exchange: Exchange, answer: Substitute) -> None:
        """See `core.ports.Witness`."""
        here, last = self._of[exchange.request.caller.task], exchange.last
        if exchange.original is not None and last is not None and len(answer.body) <= MOST_BYTES:
            state, cost, stop = here.state, exchange.cost_nano, last.stop_reason
            asked, body, name = exchange.original, answer.body, exchange.id
            self._background.offer(lambda: self._compare(here, state, asked, body, stop, cost, name))

    def _look(self) -> None:
        for task, here in self._of.items():
            self._refresh(task, here)

    def _refresh(self, task: str, here: _Now) -> None:
        file, rules = self._file, here.rules
        try:
            here.state, _ = file.state(task, rules.model)
            spent = file.spent(task, self._now() // DAY * DAY)
            counted = file.tally(task, rules.model, here.state).counted
        except ConfigError as error:
            if here.sampling:
                self._tell("shadow_unavailable", task=task, error=error.message)
            here.sampling = False  # what it costs could not be counted
            return
        here.sampling = samples(rules, here.state, counted, spent_nano=spent)

    def _compare(
        self, here: _Now, state: str, asked: Request, body: bytes, stop: str, cost: int, exchange_id: str
    ) -> None:
        rules = here.rules
        if state != here.state or not here.sampling:
            return
        dialect = DIALECTS[asked.dialect]
        live = said(dialect, asked.endpoint, asked.facts, body, stop)
        if live is None:
            return  # nothing that can be compared
        other, other_nano, why = self._other(asked, rules.task, exchange_id)
        result, judge_nano = FAILED, 0
        if other is not None:
            same, judge_nano, why = self._same(rules, asked, live, other, exchange_id)
            result = FAILED if same is None else SAME if same else DIFFERENT
        outcome = Outcome(
            self._now(), rules.task, rules.model, state, result, why, exchange_id, cost, other_nano, judge_nano
        )
        self._file.note(outcome)
        self._tell("shadow", task=rules.task, model=rules.model, state=state, result=result, reason=why,
                   exchange=exchange_id)  # fmt: skip
        self._decide(here)
        self._refresh(rules.task, here)

    def _decide(self, here: _Now) -> None:
        rules, state, file = here.rules, here.state, self._file
        counted = file.tally(rules.task, rules.model, state).counted
        latest = file.latest(rules.task, rules.model, state, rules.until) if state == SWITCHED else ()
        new = next_state(rules, state, counted, latest)
        if new != state and file.change(rules.task, rules.model, state, new, self._now()):
            here.state = new
            self._tell(
                "shadow_back" if new == BACK else "shadow_switched",
                task=rules.task,
                model=rules.model,
                same=counted.same,
                different=counted.different,
            )
        elif new == state == WATCHING and counted.compared == rules.until:
            self._tell("shadow_done", task=rules.task, model=rules.model, same=counted.same,
                       different=counted.different)  # fmt: skip

    def _other(self, asked: Request, task: str, exchange_id: str) -> tuple[Said | None, int, str]:
        """(What the other model says, nano-dollars, why there is nothing to compare)."""
        caller = replace(asked.caller, task=OF + task, user="", session="")
        exchange, body = self._ask(replace(asked, caller=caller), exchange_id)
        last = exchange.last
        if body is None or last is None:
            return None, exchange.cost_nano, "" if exchange.error is None else exchange.error.code
        why = unfit(exchange)
        if why == "stop":  # it was cut short, or has refused: that is another answer
            return Said("", (), whole=False), exchange.cost_nano, ""
        if why:
            return None, exchange.cost_nano, why
        found = said(DIALECTS[asked.dialect], asked.endpoint, asked.facts, body, last.stop_reason)
        # The caller's was no call of tools in a stream, or it would not have come here.
        return found or Said("", (), whole=False), exchange.cost_nano, ""

    def _same(
        self, rules: ShadowRules, asked: Request, live: Said, other: Said, exchange_id: str
    ) -> tuple[bool | None, int, str]:
        """(Whether both say the same, None = nobody knows; nano-dollars; why not)."""
        if rules.compare != JUDGE or exact(live, other) or not other.whole:
            return (exact if rules.compare != "schema" else same_shape)(live, other), 0, ""
        texts = [each for each in segments(asked.dialect, asked.endpoint, asked.body) if each.channel == "user"]
        question = "\n".join(each.text for each in texts)
        pair = (live, other) if self._draw() < 0.5 else (other, live)  # judges like what comes first
        body = judge_request(rules.judge, question, *pair, self._mark())
        request = Request(
            "openai",
            "chat",
            "POST",
            "/chat/completions",
            [(b"content-type", b"application/json")],
            body,
            DIALECTS["openai"].read_request("chat", body),
            replace(asked.caller, task=JUDGES + rules.task, user="", session=""),
            asked.way_in,
        )
        exchange, answer = self._ask(request, exchange_id)
        if answer is None:
            return None, exchange.cost_nano, "judge" if exchange.error is None else f"judge_{exchange.error.code}"
        found = endings("chat", answer)
        verdict = judged(found[0].text) if found else None
        return verdict, exchange.cost_nano, "" if verdict is not None else "judge"

    def _ask(self, request: Request, exchange_id: str) -> tuple[Exchange, bytes | None]:
        """A call of ours, and its answer, decoded; None where it has none."""
        engine = self.engine
        assert engine is not None  # set when it was built
        plain = [field for field in request.headers if field[0] != b"accept-encoding"]
        exchange = engine.begin(
            replace(
                request,
                headers=plain,
                prepared=None,
                correlation_id=exchange_id,
                client_retries=0,
                timeout=None,
                patience=None,
                batch=True,
                on_cut="",
                approval="",
                cache="off",
                on_our_own="shadow",
            )
        )

        async def ask() -> bytes:
            reply = await engine.open(exchange)
            pieces = []
            try:
                while piece := await reply.read():
                    pieces.append(piece)
            finally:
                reply.close()
            return b"".join(pieces)

        try:
            return exchange, run_blocking(ask())
        except HeadgateError:
            return exchange, None  # it is settled, and says why


def guards_of_purpose(inner: Callable[[Caller], GuardRules]) -> Callable[[Caller], GuardRules]:
    """The engine's guards: calls of our own have those of the task that they are made for."""

    def found(caller: Caller) -> GuardRules:
        if not caller.task.startswith((OF, JUDGES, SIMILAR)):
            return inner(caller)
        return inner(replace(caller, task=caller.task.partition(":")[2]))

    return found


def shadows_of(
    settings: Settings, background: Background, *, now: Callable[[], float], tell: Callable[..., None]
) -> Shadows | None:
    """What a configuration asks for; None where no task has a second model. Opens nothing."""
    rules = shadow_rules(settings)
    if not rules:
        return None
    file = ShadowFile(shadow_file(settings.storage))
    return Shadows(
        rules, file, background, now=now, draw=random.random, mark=lambda: f"data-{secrets.token_hex(8)}", tell=tell
    )
