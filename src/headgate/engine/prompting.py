"""Providers' prompt caches: an attempt's body is marked where that pays, and what came of it is remembered.

Per attempt, and in the body as its route gets it: what a mark is worth is the route's model's, and the other dialect
has none. The cache of whole answers has been asked before: its key is of what the caller sent (decisions 17).
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, cast

from headgate.core.exchange import Attempt, Exchange, Request, Route
from headgate.core.ports import Ports
from headgate.policy.prompt_caching import OPENAI_SMALLEST, Marks, Prefix, PromptCaching, smallest_prefix
from headgate.wire.prefixes import BYTES_PER_TOKEN, keyed, leading, marked, prefixes

if TYPE_CHECKING:
    from headgate.engine.plan import Plan, Policies

WARM_SECONDS = 10.0
"""A call of a batch waits so long for another that is writing the prefix both begin with: a read costs a tenth."""
_FIRST_LOOK, _LAST_LOOK = 0.02, 0.5  # seconds between looks at whether it has been written
_SMALLEST_BYTES = 512 * BYTES_PER_TOKEN * 3 // 4
"""Shorter bodies hold no prefix that any model keeps, whatever they are written in."""
_OPENAI = frozenset({"chat", "responses"})


class Prompting:
    """Marks attempts. Shared by all exchanges of an engine."""

    __slots__ = ("_caching", "_policies", "_ports")

    def __init__(self, ports: Ports, policies: Policies, caching: PromptCaching) -> None:
        self._ports = ports
        self._policies = policies
        self._caching = caching

    def applies(self, request: Request) -> bool:
        """Whether it is worth a look. The cheap part, for every call."""
        if len(request.body) < _SMALLEST_BYTES or (request.endpoint != "messages" and request.endpoint not in _OPENAI):
            return False
        return self._policies.tasks(request.caller.task).prompt_caching

    async def warm(self, exchange: Exchange, plan: Plan, place: int) -> None:
        """Before a call of a batch takes its turn: let the one go first that writes what both begin with.

        Why here: nobody waits with a turn or money in hand (decisions 1). Bounded by `WARM_SECONDS`.
        """
        route = plan.routes[place]
        crossed = None if plan.crossed is None else plan.sent_to(route)
        request = exchange.request if crossed is None else crossed.request
        if request.endpoint != "messages" or not self.applies(request):
            return
        prompt = prefixes(request.body)
        if prompt is None:
            return
        clock, where = self._ports.clock, _place(request, route)
        until, pause = min(clock.now() + WARM_SECONDS, plan.first_content_by), _FIRST_LOOK
        while clock.now() < until and self._caching.awaited(where, prompt.found, clock.now()):
            await clock.sleep(pause)
            pause = min(pause * 2, _LAST_LOOK)

    def mark(self, request: Request, attempt: Attempt) -> None:
        """Decide about an attempt that is about to be sent; what is sent in place of `request.body` is its `marked`."""
        if len(request.body) < _SMALLEST_BYTES or not self.applies(request):
            return
        now, again = self._ports.clock.now(), attempt.number > 1
        if request.endpoint == "messages":
            smallest = smallest_prefix(attempt.route.model or request.facts.model)
            prompt = None if smallest is None else prefixes(request.body)
            if prompt is None or smallest is None:
                return
            marks = self._caching.look(_place(request, attempt.route), prompt.found, smallest, now, again=again)
            if marks.at:
                attempt.marked = marked(request.body, prompt, marks.at)
        elif attempt.route.provider == "openai":
            found = self._key(request, attempt.route, now, again=again)
            if found is None:
                return
            marks = found[0]
            if found[1]:
                attempt.marked = keyed(request.body, found[1])
        else:
            return
        attempt.marks, attempt.prefix = marks, marks.name

    def begun(self, attempt: Attempt) -> None:
        """Its provider has begun to answer."""
        self._caching.begun(cast("Marks", attempt.marks), self._ports.clock.now())

    def _key(self, request: Request, route: Route, now: float, *, again: bool) -> tuple[Marks, str] | None:
        """OpenAI caches by itself, and routes by a hash of the first tokens and the key: prompts that begin alike with
        much in front get the same one, once they have come again."""
        found = leading(request.endpoint, request.body)
        if found is None or found.tokens < OPENAI_SMALLEST:
            return None
        place = _place(request, route)
        # No model takes marks there: what is looked at is only whether the beginning has come before.
        marks = self._caching.look(
            place, [Prefix(found.digest, found.tokens, True, False, False)], OPENAI_SMALLEST, now, again=again
        )
        if not marks.repeats:
            return marks, ""
        whose = blake2b(request.caller.tenant.encode(), key=found.digest, digest_size=12).hexdigest()
        return marks, f"hg-{whose}"  # tenants are not told to the provider


def ended(exchange: Exchange, attempt: Attempt, policies: Policies) -> None:
    """An attempt that was looked at is over, and charged. What the provider counted decides what is marked next."""
    caching, marks, usage = policies.prompts, cast("Marks", attempt.marks), attempt.usage
    if caching is None or marks.over:
        return
    if usage is None or attempt.estimated or attempt.nested:  # what of it is of the marked prompt, nobody can tell
        caching.ended(marks, None)
        return
    caching.ended(marks, usage)
    cached = usage.cache_read_tokens + usage.cache_write_tokens + usage.cache_write_long_tokens
    if cached:
        plain = replace(
            usage,
            input_tokens=usage.prompt_tokens,
            cache_read_tokens=0,
            cache_write_tokens=0,
            cache_write_long_tokens=0,
        )
        without, _ = policies.charges.charge(attempt.route, attempt.model_served, plain, attempt.started)
        attempt.saved_nano = without - attempt.cost_nano
    model = attempt.model_served or attempt.route.model or exchange.request.facts.model
    caching.count(exchange.request.caller.tenant, model, marks, usage, attempt.saved_nano)


def _place(request: Request, route: Route) -> tuple[str, str, int, str]:
    """Whose cache: providers keep prompts apart by workspace, which is to say by credential, and we by tenant."""
    return request.caller.tenant, route.provider, id(route.credential), route.model or request.facts.model
