"""What watches an answer: the guards of its texts, and what looks at its tool calls, as one `core.guards.Inspector`.

Checks that have to ask somebody (moderation, topic) are no part of it: an inspector never waits. Their place is behind
a whole answer, before it is handed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from headgate.core.guards import Denied, Finding, Seen, ToolCall, Verdict, Words
from headgate.policy.guards.answer_text import TextGuard, Watched
from headgate.policy.guards.carrying import Private
from headgate.policy.guards.leaks import MARKER, Canaries, Leaks, Prompt, Prompts, squashed
from headgate.policy.guards.links import LinkRules, Links, leads_out
from headgate.policy.guards.pii import find_pii
from headgate.policy.guards.pii import tail_start as pii_tail
from headgate.policy.guards.rules import BLOCK, FLAG, OFF, REDACT, REDACT_LOGS, GuardRules
from headgate.policy.guards.secrets import find_secrets
from headgate.policy.guards.secrets import tail_start as secrets_tail
from headgate.policy.guards.values import Restoring, Values

_FIND = {"pii": (find_pii, pii_tail), "secrets": (find_secrets, secrets_tail)}
_LEAST_PROMPT = 48  # squashed characters: nothing shorter is worth a secret, whatever it says
_DEFINITIONS = ("tools", "functions", "response_format", "output_config", "text.")
_prompts = Prompts()


class Restorer(Protocol):
    """Puts back what was taken out of the request: see `policy.guards.placeholders.Redactor`."""

    def restore(self, text: str, *, in_json: bool = False) -> str: ...


class CallWatch(Protocol):
    """See `policy.guards.toolwatch.ToolWatch`."""

    findings: list[Finding]

    def tool(self, call: ToolCall) -> ToolCall | Denied: ...


class Watching:
    """What all attempts of one exchange share: what the request says, made ready when it is first needed.

    Args:
        rules: of the caller.
        texts: of the request.
        restorer: put placeholders into it; None: nothing was taken out.
        calls: makes what looks at an attempt's tool calls; None: nothing does.
        prompts: remembers system prompts.
    """

    def __init__(
        self,
        rules: GuardRules,
        texts: Sequence[Words],
        *,
        restorer: Restorer | None = None,
        calls: Callable[[], CallWatch | None] | None = None,
        prompts: Prompts = _prompts,
    ) -> None:
        self.rules = rules
        self.restorer = restorer
        self._texts = texts
        self._calls = calls
        self._tainted = any(each.channel in ("document", "tool_result") for each in texts)
        self._canaries = self._all_canaries()
        self._prompt = self._system(prompts)
        self._known = squashed("\n".join(self._of("user"))) if self._prompt is not None else ""
        self._private: Private | None = None

    @property
    def canaries(self) -> Canaries:
        """Those configured, and those that the request's system prompt brings along."""
        return self._canaries

    @property
    def needed(self) -> bool:
        """Whether there is anything to watch for."""
        rules = self.rules
        return bool(
            self._calls is not None
            or self.restorer is not None
            or self._prompt is not None
            or self._canaries
            or rules.links != OFF
            or rules.output.answer_characters is not None
            or any(getattr(rules, guard) not in (OFF, REDACT_LOGS) for guard in _FIND)
        )

    def __call__(self) -> Watch:
        """What watches one attempt's answer."""
        return Watch(self, None if self._calls is None else self._calls())

    def guards(self) -> list[TextGuard]:
        """The guards of one text."""
        rules = self.rules
        found: list[TextGuard] = []
        if self.restorer is not None:
            hosts = LinkRules(rules.links, rules.output.link_allow)
            found.append(Restoring(self.restorer.restore, lambda text, at: leads_out(text, at, hosts, self.private)))
        if self._prompt is not None or self._canaries:
            blocks = rules.leaks == BLOCK
            found.append(Leaks(self._prompt, self._canaries, self._known, blocks=blocks, strict=rules.strict))
        if rules.links != OFF:
            told = LinkRules(rules.links, rules.output.link_allow, strict=rules.strict, tainted=self._tainted)
            found.append(Links(told, self.private))
        for guard, (find, tail_start) in _FIND.items():
            mode = getattr(rules, guard)
            if mode in (FLAG, REDACT, BLOCK):
                found.append(Values(guard, mode, find, tail_start, self.private.holds))
        return found

    @property
    def private(self) -> Private:
        """What the conversation holds."""
        if self._private is None:
            self._private = Private(
                self._of("system", "user"), self._of("document", "tool_result", "assistant", "tool_call")
            )
        return self._private

    def _of(self, *channels: str) -> Iterable[str]:
        return (each.plain for each in self._texts if each.channel in channels)

    def _all_canaries(self) -> Canaries:
        configured = self.rules.output.canaries
        if self.rules.leaks == OFF:
            return Canaries(())
        markers = {marker for text in self._of("system") for marker in MARKER.findall(text)}
        return Canaries((*configured.words, *markers)) if markers else configured

    def _system(self, prompts: Prompts) -> Prompt | None:
        if self.rules.leaks == OFF:
            return None
        # What tools and the fields of answers are for, models tell everybody.
        told = (
            each.plain for each in self._texts if each.channel == "system" and not each.place.startswith(_DEFINITIONS)
        )
        text = "\n".join(told)
        return prompts.of(text) if len(text) >= _LEAST_PROMPT else None


class Watch:
    """Watches one answer. See `core.guards.Inspector`."""

    def __init__(self, watching: Watching, calls: CallWatch | None) -> None:
        self._watching = watching
        self._calls = calls
        self._texts: dict[str, Watched] = {}
        self._found: list[Finding] = []
        self._left = watching.rules.output.answer_characters
        self.stopped: Finding | None = None
        self.tools = calls is not None or watching.restorer is not None or bool(watching.canaries)

    @property
    def findings(self) -> Sequence[Finding]:
        """See `Inspector`."""
        return [*self._found, *(self._calls.findings if self._calls is not None else ())]

    def text(self, place: str, piece: str, *, final: bool = False) -> Seen:
        """See `Inspector`."""
        watched = self._texts.get(place)
        if watched is None:
            watched = self._texts[place] = Watched(place, self._watching.guards(), self._watching.rules.look_behind)
        over = self._left is not None and len(piece) > self._left
        if self._left is not None:
            piece, self._left = piece[: self._left], self._left - min(self._left, len(piece))
        seen, stopped = watched.feed(piece, self._found, final=final or over)
        if stopped is None and over:
            stopped = Finding("length", Verdict.BLOCK, ("answer_characters",), channel="assistant", place=place)
            self._found.append(stopped)
        self.stopped = self.stopped or stopped
        return seen

    def tool(self, call: ToolCall) -> ToolCall | Denied:
        """See `Inspector`. Placeholders are put back before anybody judges the arguments."""
        watching = self._watching
        if watching.restorer is not None:
            arguments = watching.restorer.restore(call.arguments, in_json=True)
            call = replace(call, arguments=arguments) if arguments != call.arguments else call
        pattern = watching.canaries.pattern
        if pattern is not None and pattern.search(squashed(f"{call.name} {call.arguments}")):
            blocks = watching.rules.leaks == BLOCK
            verdict = Verdict.BLOCK if blocks else Verdict.FLAG
            found = Finding("leak", verdict, ("canary",), channel="tool_call", place=call.place)
            self._found.append(found)
            if blocks:
                self.stopped = found
        return call if self._calls is None or self.stopped is not None else self._calls.tool(call)
