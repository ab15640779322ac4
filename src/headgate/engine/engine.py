"""The procedure: the only file that knows the order of the steps.

    admit -> recall (a kept answer, or one that another is waiting for)
          -> attempt (route, turn, set money aside, send, read to the first content) -> relay -> settle
                 ^------ recovery decides: again, elsewhere, or give up

Await nothing but ports here, and hold no lock across an `await` (core/ports.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence

from headgate.core.errors import (
    BudgetExceeded,
    ContentBlocked,
    Gone,
    HeadgateError,
    NoTurn,
    RateExceeded,
    Refusal,
    Unavailable,
    UpstreamError,
    without_frames,
)
from headgate.core.exchange import Attempt, Ending, Exchange, Request, new_exchange
from headgate.core.guards import Inspector
from headgate.core.ports import Incoming, Outgoing, Ports
from headgate.engine import limiting
from headgate.engine.again import Again
from headgate.engine.answer import HeaderList, passed_on
from headgate.engine.approving import Approving
from headgate.engine.books import Books, once_only, spent
from headgate.engine.checking import Checking
from headgate.engine.choosing import answered, fall_back
from headgate.engine.coded import decoded, legible
from headgate.engine.crossing import Crossings, answer_back, headers_back, is_crossed, meter_back
from headgate.engine.degrading import Degrading
from headgate.engine.draft import Draft, whole_reply
from headgate.engine.flights import Flights
from headgate.engine.guarding import Guarding
from headgate.engine.holds import Holds
from headgate.engine.incidents import InIncident, said
from headgate.engine.inspected import answer_of, content_blocked, note, watched
from headgate.engine.looking import holds_back
from headgate.engine.mending import Mendable, Mending, on_cut
from headgate.engine.plan import METERED, PRICED, Plan, Policies, capped, make_plan, unseen_tokens
from headgate.engine.prompting import Prompting
from headgate.engine.reading import (
    failed,
    failed_inside,
    is_stream,
    is_told,
    outside_stream,
    read_all,
    read_headers,
    truncated,
)
from headgate.engine.recall_tools import Giving
from headgate.engine.recalling import nothing_kept, recalling_of
from headgate.engine.refusing import after_all, read_out, refused
from headgate.engine.relay import RawReply, Reply, StreamReply, WholeReply
from headgate.engine.replaying import Given, replayed
from headgate.engine.sending import body_for, headers_for
from headgate.engine.shaping import shape
from headgate.engine.structuring import Structuring
from headgate.engine.turning import Turning
from headgate.engine.witnessing import seen
from headgate.policy.recovery import GiveUp, Retry
from headgate.wire.dialect import Dialect, Meter
from headgate.wire.refused import is_refusal
from headgate.wire.state import referred, relocated

HOLD_BACK_SECONDS = 15.0
"""Life-cycle frames wait this long for the first content, so that a failure before it can still be retried. A model
that thinks in silence goes on for longer: then they go out, so that the caller's own timers see a live stream, whether
or not the provider sends anything more; and earlier where the caller would leave (`Plan.shown_by`)."""

MAX_WHOLE_BYTES = 256 * 1024 * 1024


class Engine:
    """Runs exchanges. One instance per colour; safe to share between threads and tasks.

    Args:
        ports: everything outside.
        policies: every decision.
        flights: shared with the engine of the other colour; None: it has its own.
    """

    def __init__(self, ports: Ports, policies: Policies, flights: Flights | None = None) -> None:
        self.ports = ports
        self.policies = policies
        self._books = Books(ports, policies)
        self._holds = Holds(ports, policies)
        self._crossings = Crossings(policies)
        self._degrading = Degrading(ports, policies, self._books)
        self._approving = Approving(ports, policies, self._books)
        self._guarding = Guarding(ports, policies, self._approving)
        self._incidents = policies.incidents
        self._incident = InIncident(ports, policies)
        self._turns = Turning(ports, policies, self._books, self._crossings, self._incident)
        self._checking = Checking(ports, policies, self._books)
        self._prompting = None if policies.prompts is None else Prompting(ports, policies, policies.prompts)
        self._structuring = Structuring(ports, self._books, self._checking)
        self._giving = Giving(policies=policies, books=self._books, checking=self._checking)
        self.again = Again(ports, policies, self._giving, self._failed)
        self._recalling = recalling_of(
            ports, policies, self._books, self._checking, self._proceed, self._failed, flights
        )
        self._recalls = self._recalling is not None or ports.similar is not None
        # Something beside its routes and its caller's limits has to do with every call.
        self._looks = bool(
            self._recalls or ports.witnesses or policies.guards is not None or ports.checkers is not None
        )
        # What every call needs, within reach.
        self._limits, self._ledger, self._upstream = ports.limits, ports.ledger, ports.upstream
        self._turn_desk, self._tracing = ports.turns, policies.tracing
        self._now, self._new_id = ports.clock.now, ports.new_id

    def begin(self, request: Request) -> Exchange:
        """The record of a call that has just come in. Follow with `open`, or with `refuse`."""
        now = self._now()
        return new_exchange(self._new_id(now), request, now)

    async def open(self, exchange: Exchange) -> Reply:
        """Answer. The caller must read the reply's body to its end or close it; either settles the exchange.

        Raises:
            Refusal: Headgate said no.
            UpstreamError: no provider answered. `exchange` is settled in both cases, and when the task is cancelled.
        """
        request = exchange.request
        # Most calls ask for nothing of their own, and come by all that is for such together.
        asks = request.client_retries or request.approval or request.cache or request.on_cut or request.facts.state
        looks = self._looks or asks
        try:
            if looks:
                if self.ports.witnesses and not (request.of_guard or request.on_our_own):
                    exchange.original = request
                if request.facts.state and request.direct is None:
                    await self._recall(request.facts.state)
            plan = self._admit(exchange)
            if self._incidents.live is not None:
                await self._incident.admit(exchange, plan)
            if self._limits is not None and not (request.of_guard or request.on_our_own):
                asked = limiting.admit(self._limits, self.policies, exchange, plan, self._now())
                if asked is not None:
                    await asked
            if looks or not plan.plain:
                if self.policies.guards is not None:
                    await self._guarding.admit(exchange, plan)
                if request.client_retries:  # behind the limits: whoever is over one uses up nobody's retries
                    self._turns.come_again(exchange, plan)
                if request.approval:
                    return await self._approving.answer(exchange, plan)
                if request.facts.stream:
                    plan.on_cut = on_cut(request, plan.on_cut)
                if self.ports.checkers is not None:
                    await self._checking.admit(exchange, plan)
                if self._recalls or plan.checks or request.cache or request.on_cut or exchange.original is not None:
                    plan.plain = False
            if plan.plain and self._incidents.live is None:  # nothing of what stands in between has anything to do
                try:
                    return await self._attempts(exchange, plan)
                except NoTurn as error:
                    raise said(error) from None
            reply = await self._recalled(exchange, plan)
            late = plan.checks or (plan.answer is not None and holds_back(plan))
            if late and not isinstance(reply, Given):  # which was looked at before
                reply = self._checking.held(exchange, plan, reply)
            return reply if exchange.original is None else seen(self.ports.witnesses, exchange, reply)
        except BaseException as error:
            if isinstance(error, BudgetExceeded | RateExceeded):
                promised = await self._degrading.queue(exchange, error)
                if promised is not None:
                    return promised
            if not exchange.detached:
                await self._failed(exchange, error)
            raise

    async def _failed(self, exchange: Exchange, error: BaseException) -> None:
        """Close the books on an exchange that has no answer."""
        self._books.settle(exchange, _ending_of(error), error)
        if not exchange.attempts and isinstance(error, HeadgateError) and not limiting.recorded_later(error):
            # No intent row stands for it, so its own row must be durable before we answer.
            await self._recorded()

    async def _recalled(self, exchange: Exchange, plan: Plan) -> Reply:
        """A kept answer, or a provider's."""
        if self._recalling is not None:
            wanted = self._recalling.wanted(exchange, plan)
            if wanted is not None:
                return await self._recalling.answer(exchange, plan, wanted)
        elif exchange.request.cache == "only":
            raise nothing_kept()
        return await self._proceed(exchange, plan)

    async def _proceed(self, exchange: Exchange, plan: Plan) -> Reply:
        """An answer that no other caller has had, or one to a similar question. Raises as `open`, and settles nothing
        but the latter."""
        if self.ports.similar is not None and exchange.original is not None and not exchange.request.cache:
            kept = await self.ports.similar.recall(exchange)
            if kept is not None:
                return await replayed(self._giving, exchange, plan, kept, how="similar")
        if plan.shape is not None:
            shape(exchange, plan, self.policies)
        if self._incidents.live is not None:
            self._incident.degrade(exchange, plan)
        plain = plan.descent is None and not plan.takes_refusals
        try:
            reply = await (self._attempts(exchange, plan) if plain else self._answer(exchange, plan))
        except NoTurn as error:
            raise said(error) from None
        if isinstance(reply, Draft):
            reply = await self._structuring.finish(exchange, plan, reply, self._attempts)
        if exchange.pruned:
            reply.headers.append((b"x-headgate-pruned", exchange.pruned.encode()))
        if exchange.request.on_cut and exchange.request.facts.stream:
            reply.headers.append((b"x-headgate-on-cut", plan.on_cut.encode()))
        if isinstance(reply, Mendable) and not reply.over:
            return Mending(self._books, plan, reply, self._answer, MAX_WHOLE_BYTES)
        return reply

    async def refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        """Record a call that a way in turned away before the engine saw a request it could run."""
        self._books.settle(exchange, Ending.REFUSED, refusal)
        await self._recorded()

    def answered(self, exchange: Exchange, status: int) -> None:
        """Record a call that a way in has answered from what it knows: nothing was sent for it."""
        exchange.status = status
        self._books.settle(exchange, Ending.COMPLETE)

    async def _recorded(self) -> None:
        # Where the ledger is down the row stays queued; no money moved, and the caller is owed the refusal anyway.
        with contextlib.suppress(Unavailable):
            await self.ports.ledger.flush()

    def stopping(self, stopping: bool) -> None:
        """While it is so, whatever is cancelled or closed early is so because we shut down, and is booked as that."""
        self._books.stopping = stopping

    def owns_retries(self, exchange: Exchange) -> bool:
        """Whether Headgate, not the caller, retries this exchange."""
        return self._books.owns_retries(exchange)

    def _admit(self, exchange: Exchange) -> Plan:
        """Why here: the cheapest refusals come first, before anything is written or sent."""
        request = exchange.request
        plan = make_plan(request, self.policies, exchange.started)
        if plan.output_cap:
            exchange.request = capped(request, plan)
        return plan

    async def _answer(self, exchange: Exchange, plan: Plan, broken: Attempt | None = None) -> Reply:
        """The answer of the plan's routes, or what is configured in its place. Raises as `open`, and settles nothing.

        Args:
            broken: the attempt that went before, whose stream has broken off.
        """
        left = [broken]

        def attempts(exchange: Exchange, plan: Plan) -> Awaitable[Reply]:
            once = left.pop() if left else None
            return (self._despite_refusals if plan.takes_refusals else self._attempts)(exchange, plan, once)

        if plan.descent is None:
            return await attempts(exchange, plan)
        return await self._degrading.answer(exchange, plan, plan.descent, attempts)

    async def _despite_refusals(self, exchange: Exchange, plan: Plan, broken: Attempt | None) -> Reply:
        """A model's refusal is an answer: where what was to follow it fails, the caller gets it after all."""
        try:
            return await self._attempts(exchange, plan, broken)
        except (UpstreamError, Refusal):
            reply = after_all(self._books, exchange, plan)
            if reply is None:
                raise
            return reply

    async def _attempts(self, exchange: Exchange, plan: Plan, broken: Attempt | None = None) -> Reply:
        """Why a loop here and nowhere else: one owner of retries, and nothing has left for the caller yet.

        Args:
            broken: the attempt that these follow.
        """
        place, waited, stretch = 0, 0.0, 1.0
        if broken is not None:
            place, waited, stretch = await self._after(exchange, plan, broken)
        while True:
            while plan.routes[place] is not plan.direct and not self._crossings.passes(exchange, plan, place):
                pass  # it was taken out of the plan, and the next one is at its place
            if self._prompting is not None and exchange.request.batch:
                await self._prompting.warm(exchange, plan, place)
            try:
                attempt, wait = self._turns.begin(exchange, plan, place, waited)
                if wait is not None:
                    await wait  # here, and in nothing of its own: see there
            except NoTurn as error:
                attempt = await self._turns.elsewhere(exchange, plan, place, waited, error)
            try:
                if self._holds.some or plan.most_nano is not None:
                    await self._holds.take(exchange, plan, attempt)
                else:
                    await self._ledger.intend(exchange, attempt)
                outgoing = self._outgoing(exchange, plan, attempt, stretch)
                attempt.sent = True
                incoming = await self._upstream.send(outgoing)
                reply = await self._read(exchange, plan, attempt, incoming)
                if plan.learns:
                    answered(exchange, plan, self.policies, attempt, self._now())
                return reply
            except BudgetExceeded as error:
                if self._turn_desk is not None:
                    self._turn_desk.unsent(attempt)
                self._holds.instead(exchange, plan, error)
                place, waited = 0, 0.0
                continue
            except UpstreamError as error:
                plan.tell_whose(error, attempt, self.ports.clock.now())
                self._books.fail(exchange, attempt, error)
                if spent(exchange.request) or once_only(exchange.request, error) or isinstance(error, NoTurn):
                    raise
                without_frames(error)  # the attempt keeps the error
            place, waited, stretch = await self._after(exchange, plan, attempt)

    async def _after(self, exchange: Exchange, plan: Plan, attempt: Attempt) -> tuple[int, float, float]:
        """Wait for what follows an attempt that failed: its route, how long that was, how far its timer stretches."""
        assert attempt.error is not None
        named = fall_back(exchange, plan, self.policies, attempt.error, self.ports.clock.now())
        step = self._step(exchange, plan, attempt, renewed=await self._renewed(attempt), named=named)
        if step.after > 0:
            await self.ports.clock.sleep(step.after)
        return step.route, step.after, step.stretch

    def _step(self, exchange: Exchange, plan: Plan, attempt: Attempt, *, renewed: bool, named: bool) -> Retry:
        """What follows an attempt that failed. Raises its error where nothing does.

        Args:
            named: the plan's next route was named for this failure.
        """
        while True:
            left = plan.first_content_by - self.ports.clock.now()
            jitter = self.ports.random()
            step = plan.recovery.next(
                exchange.attempts, plan.routes, left=left, jitter=jitter, renewed=renewed, at_once=named
            )
            if isinstance(step, Retry):
                step = self._turns.afford(plan, attempt, step)
            if isinstance(step, GiveUp):
                raise step.error
            if plan.routes[step.route] is plan.direct or self._crossings.passes(exchange, plan, step.route):
                return step

    async def _renewed(self, attempt: Attempt) -> bool:
        """Whether the credential that the provider has just refused is another one by now."""
        credentials, credential, error = self.ports.credentials, attempt.route.credential, attempt.error
        if credentials is None or credential is None or error is None or error.status != 401:
            return False
        return await credentials.renew(credential, attempt.started)

    def _outgoing(self, exchange: Exchange, plan: Plan, attempt: Attempt, stretch: float) -> Outgoing:
        """What is sent. The intent is on record, and its money set aside."""
        request, route = attempt.sent_as or exchange.request, attempt.route
        if self._prompting is not None:
            self._prompting.mark(request, attempt)
        dialect = plan.dialect if attempt.sent_as is None else self._dialect(plan, attempt)
        body = body_for(request, dialect, attempt)
        headers, tracing = headers_for(request, route), self._tracing
        unseen = 0 if request.facts.stream else unseen_tokens(request, attempt.output_cap)
        return Outgoing(
            request.method,
            route.base_url + request.path,
            headers if tracing is None else tracing.told(exchange, attempt.number, headers),
            body,
            plan.attempt_timeouts(attempt.started, stretch, route.provider, unseen),
            request.upload,
        )

    async def _read(self, exchange: Exchange, plan: Plan, attempt: Attempt, incoming: Incoming) -> Reply:
        """Read until there is something to hand on: of a stream the first content, of a JSON answer all, so that a cut
        one can still be retried."""
        try:
            attempt.first_byte = self._now()
            status, headers = incoming.status, incoming.headers
            attempt.status = status
            request = attempt.sent_as or exchange.request
            endpoint = request.endpoint
            dialect = plan.dialect if attempt.sent_as is None else self._dialect(plan, attempt)
            coding = read_headers(exchange, attempt, dialect, headers)
            turns, metered = self._turn_desk, endpoint in METERED
            if status >= 300 and (metered or status >= 400):
                error = await failed(incoming, coding, plan, dialect, attempt, self.ports.clock)
                if turns is not None:
                    turns.answered(attempt, status, headers, error.provider_code)
                raise error
            if turns is not None:
                turns.answered(attempt, status, headers)
            if attempt.marked and self._prompting is not None:
                self._prompting.begun(attempt)
            if not metered and not (endpoint == "stored" and is_told(headers)):
                return await self._raw(exchange, plan, attempt, incoming)
            if request.facts.stream and is_stream(headers):
                return await self._stream(exchange, plan, attempt, decoded(incoming, coding))
            whole = incoming.whole()
            if whole is None:
                whole = await read_all(incoming, MAX_WHOLE_BYTES, plan, self.ports.clock)
                incoming.close()
            body = whole
            attempt.first_content = self._now()
            plain = body if not coding else legible(body, coding, MAX_WHOLE_BYTES)
            if endpoint in PRICED:
                answer, text = dialect.read_answer(endpoint, plain, keep_text=self.policies.keep_text)
                attempt.usage = answer.usage
                attempt.model_served = answer.model
                attempt.stop_reason = answer.stop_reason
                if answer.error is not None:
                    # An error body is free; what we cannot read, and an error beside a usage, had been generated.
                    billed = answer.usage is not None or answer.error.type == "malformed_answer"
                    raise failed_inside(answer.error, body, headers, attempt, billed=billed)
                exchange.response_text = text
            if request.facts.keeps:
                self._remember(exchange, attempt, (plain,))
            if attempt.sent_as is None and plan.inspects is None and not exchange.request.own_url:
                headers = passed_on(headers, exchange)
            else:
                headers, body = self._changed(exchange, plan, attempt, incoming, body, plain)
            if plan.takes_refusals and is_refusal(endpoint, attempt.stop_reason, plain):
                raise refused(plan, attempt, status, headers, body)
            self._books.charge(exchange, attempt, None, plain)
            if plan.plain:
                return WholeReply(self._books, exchange, status, headers, body)
            return whole_reply(self._books, exchange, plan, status, headers, body)
        except BaseException:
            incoming.close()
            raise

    def _changed(
        self, exchange: Exchange, plan: Plan, attempt: Attempt, incoming: Incoming, body: bytes, plain: bytes
    ) -> tuple[HeaderList, bytes]:
        """Headers and body of a whole answer as the caller gets it, where that is not as the provider gave it.

        Args:
            plain: `body` without its coding.
        """
        told = plain
        if attempt.sent_as is not None and is_crossed(exchange, attempt):
            body = told = answer_back(exchange, attempt, plain, self._now())
            incoming.headers = headers_back(exchange, attempt, incoming.headers)
        if plan.inspects is not None:
            told = self._inspected(exchange, plan, attempt, plan.inspects, told, plain)
        if exchange.request.own_url:
            told = relocated(told, exchange.request.own_url)
        headers = passed_on(incoming.headers, exchange)
        if told not in (plain, body):  # it was asked for plain, but may have come in a coding
            body, headers = told, [h for h in headers if h[0] != b"content-encoding"]
        return headers, body

    def _inspected(
        self,
        exchange: Exchange,
        plan: Plan,
        attempt: Attempt,
        inspects: Callable[[], Inspector],
        told: bytes,
        plain: bytes,
    ) -> bytes:
        """What goes out of a whole answer. It is paid for either way; `plain` is what the provider has sent."""
        text, exchange.response_text = exchange.response_text, ""
        try:
            made = answer_of(exchange, inspects, told)
        except ContentBlocked:
            self._books.charge(exchange, attempt, None, plain)
            raise
        if text and made != told:
            _, text = plan.dialect.read_answer(exchange.request.endpoint, made, keep_text=True)
        exchange.response_text = text
        return made

    async def _stream(self, exchange: Exchange, plan: Plan, attempt: Attempt, incoming: Incoming) -> Reply:
        """Read up to the first content. Until then a failure is retried; from then on nothing is."""
        request = attempt.sent_as or exchange.request
        clock = self.ports.clock
        dialect = self._dialect(plan, attempt)
        keep_text = self.policies.keep_text or plan.answer is not None
        # Compatible providers may leave out what nobody has asked them for; the vendor leaves out nothing.
        strict = exchange.request.facts.include_usage or attempt.route.provider == "openai"
        keeps = keep_text and plan.inspects is None
        meter = dialect.meter(request.endpoint, request.facts, keep_text=keeps, strict=strict)
        if attempt.sent_as is not None and is_crossed(exchange, attempt):
            meter = meter_back(exchange, attempt, meter, clock.now())
            incoming.headers = headers_back(exchange, attempt, incoming.headers)
        if plan.inspects is not None:
            meter = watched(exchange, plan.inspects, meter, keep_text=keep_text)
        held: list[bytes] = []
        raw: list[bytes] = []
        try:
            while not (meter.started or meter.ended):
                if held:
                    left = min(attempt.started + HOLD_BACK_SECONDS, plan.shown_by) - clock.now()
                    if left <= 0 or not await incoming.wait(left):
                        break
                piece = await incoming.read()
                held.append(meter.feed(piece) if piece else meter.finish())
                raw.append(piece)
                if meter.error is not None and not meter.started:
                    body, headers = outside_stream(b"".join(raw), incoming.headers)
                    # A frame that names the model came before it: OpenAI begins so, and tells the prompt at the end.
                    # Behind a frame that we cannot read anything may have been.
                    billed = meter.usage is not None or meter.model != "" or meter.error.type == "malformed_event"
                    raise failed_inside(meter.error, body, headers, attempt, billed=billed)
                if not piece and not meter.ended:
                    raise truncated(attempt)
            if plan.takes_refusals and is_refusal(request.endpoint, meter.stop_reason, b"".join(raw)):
                await self._refused_stream(exchange, plan, attempt, incoming, meter, held)
        except UpstreamError as error:
            self._books.charge_begun(exchange, attempt, meter, error, incoming)
            raise
        except BaseException:
            self._books.note(attempt, meter)  # what it has reported of the prompt is on the bill
            raise
        if request.facts.keeps:
            self._remember(exchange, attempt, raw)
        if meter.started or meter.ended:
            attempt.first_content = clock.now()
        found = None if meter.started else note(exchange, meter)
        if found is not None:  # nothing has left, so it can still be told as what it is
            self._books.charge_left(exchange, attempt, meter, incoming)
            raise content_blocked(found)
        kind = StreamReply if plan.on_cut == "error" else Mendable
        return kind(self._books, exchange, plan, incoming, meter, b"".join(held))

    async def _refused_stream(
        self,
        exchange: Exchange,
        plan: Plan,
        attempt: Attempt,
        incoming: Incoming,
        meter: Meter,
        held: list[bytes],
    ) -> None:
        """Raises `refused` where all of a refusal is here; else the stream is handed on as any other."""
        if await read_out(incoming, meter, held, self.ports.clock, plan.shown_by):
            attempt.first_content = self.ports.clock.now()
            raise refused(plan, attempt, incoming.status, passed_on(incoming.headers, exchange), b"".join(held))

    def _remember(self, exchange: Exchange, attempt: Attempt, answer: Iterable[bytes]) -> None:
        """Where the provider keeps what this answer tells of: requests that refer to it have to go there."""
        request = attempt.sent_as or exchange.request
        if request.facts.state or request.method != "GET":  # a list of the whole account is nobody's
            found = referred(b"".join(answer))
            exchange.kept = self.policies.router.remember(found, attempt.route, request.caller)

    def _dialect(self, plan: Plan, attempt: Attempt) -> Dialect:
        """What the attempt's provider speaks."""
        return plan.dialect if attempt.sent_as is None else self.policies.dialects(attempt.sent_as.dialect)

    async def _recall(self, ids: Sequence[str]) -> None:
        """Ask the ledger where the provider keeps what a request refers to: an earlier process may have made it."""
        router = self.policies.router
        unknown = router.homes.unknown(ids)
        if unknown:
            router.restore(await self.ports.ledger.kept(unknown))

    async def _raw(self, exchange: Exchange, plan: Plan, attempt: Attempt, incoming: Incoming) -> Reply:
        """An answer we do not read: bytes in, bytes out, logged as unpriced."""
        first = await incoming.read()
        attempt.first_content = self.ports.clock.now()
        return RawReply(self._books, exchange, plan, incoming, first)


def _ending_of(error: BaseException) -> Ending:
    if isinstance(error, Refusal):
        return Ending.REFUSED
    if isinstance(error, Gone) or not isinstance(error, Exception):
        return Ending.CANCELLED
    return Ending.FAILED
