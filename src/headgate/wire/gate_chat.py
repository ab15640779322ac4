"""The gate of a Chat Completions stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from headgate.core.guards import Denied, Inspector, ToolCall
from headgate.wire import sse
from headgate.wire.gates import Gate, Part, Text, TextFrame, changed
from headgate.wire.jsonplace import Path, decoded, dump
from headgate.wire.lenient import table, text

SHOWN = ("content", "refusal")
_CALLED = ("tool_calls", "function_call")
_FOR_CALLS = ("tool_calls", "function_call")  # as reasons to finish
_DONE = b"data: [DONE]\n\n"
_OLD = -1  # the number of a call in the legacy form, of which there is at most one


class _Call:
    """A tool call as far as it has come."""

    __slots__ = ("arguments", "id", "kind", "name")

    def __init__(self) -> None:
        self.id = self.name = ""
        self.kind = "function"
        self.arguments: list[str] = []

    def add(self, part: dict[str, Any]) -> None:
        """Another fragment."""
        self.id = text(part.get("id")) or self.id
        self.kind = text(part.get("type")) or ("custom" if part.get("custom") else self.kind)
        self.add_function(table(part.get("function")) or table(part.get("custom")))

    def add_function(self, function: dict[str, Any]) -> None:
        """Its name, or more of its arguments."""
        self.name += text(function.get("name"))
        self.arguments.append(text(function.get("arguments")) or text(function.get("input")))


class _Choice:
    """What is known of one choice.

    Attributes:
        calls: by number, until they have been decided on.
        held: chunks that wait for that.
    """

    __slots__ = ("calls", "finished", "held", "let_through")

    def __init__(self) -> None:
        self.calls: dict[int, _Call] = {}
        self.held: list[_CallFrame] = []
        self.let_through = True  # no call was denied, or another one goes out
        self.finished = False


class _CallFrame:
    """A chunk with fragments of tool calls, and perhaps of texts. `choices` are those whose calls it waits for."""

    __slots__ = ("_texts", "choices", "extra", "size", "stripped")

    def __init__(self, texts: TextFrame, choices: set[int]) -> None:
        self._texts = texts
        self.size = texts.size
        self.choices = choices
        self.stripped: dict[int, bool] = {}  # choices whose calls do not go out as they came: whether any is left
        self.extra = b""  # goes out beside it: what the calls have become

    def ready(self) -> bool:
        """See `Waiting`."""
        return not self.choices and self._texts.ready()

    def make(self) -> bytes:
        """See `Waiting`."""
        frame = self._texts.make()
        if not self.stripped:
            return frame
        chunk = json.loads(sse.parse(frame).data or b"{}")
        left = ends = False
        for choice in chunk["choices"]:
            delta = choice.get("delta")
            calls_left = self.stripped.get(_index(choice))
            if calls_left is not None and isinstance(delta, dict):
                for name in _CALLED:
                    delta.pop(name, None)
            if calls_left is False and choice.get("finish_reason") in _FOR_CALLS:
                choice["finish_reason"] = "stop"
            ends = ends or bool(choice.get("finish_reason"))
            left = left or bool(delta)
        own = sse.encode(dump(chunk)) if left or ends else b""
        return self.extra + own if ends else own + self.extra


class ChatGate(Gate):
    """Chunks with pieces of several choices. Tool calls are complete where their choice has its finish reason: only
    then can none of them go on."""

    def __init__(self, inspector: Inspector, *, keep_text: bool = False) -> None:
        super().__init__(inspector, keep_text=keep_text)
        self._choices: dict[int, _Choice] = {}
        self._head: dict[str, Any] = {}  # of a chunk, for those that we make

    def _read(self, frame: bytes, name: bytes, data: bytes) -> None:
        chunk = decoded(data)
        choices = chunk.get("choices") if chunk is not None else None
        if chunk is None or chunk.get("error") or not isinstance(choices, list) or not choices:
            if data.startswith(b"[DONE]"):
                self._decide_all()
                self._end_texts()
            self._push(frame, quiet=True)  # usage, filters' results, and what nobody can read
            return
        if not self._head:
            self._head = {key: chunk[key] for key in ("id", "object", "created", "model") if key in chunk}
        self._read_chunk(frame, data, chunk, choices)

    def _read_chunk(self, frame: bytes, data: bytes, chunk: dict[str, Any], choices: list[Any]) -> None:
        parts: list[Part] = []
        blanks: dict[Path, bytes] = {}
        calling: set[int] = set()
        finished: list[int] = []
        quiet = True
        for place, each in enumerate(choices):
            choice = table(each)
            index = _index(choice)
            known = self._choices.setdefault(index, _Choice())
            delta = table(choice.get("delta"))
            path: Path = ("choices", place)
            for name in SHOWN:
                for piece, inside in pieces(delta.get(name)):
                    parts.append(self._shown(f"choices[{index}].{name}", piece, (*path, "delta", name, *inside)))
            if choice.get("logprobs"):
                blanks[(*path, "logprobs")] = b"null"
            if self.inspector.tools and _collect(known, delta):
                calling.add(index)
            if choice.get("finish_reason"):
                finished.append(index)
            quiet = quiet and not (choice.get("finish_reason") or any(v for k, v in delta.items() if k != "role"))
        if calling:
            held = _CallFrame(TextFrame(frame, data, parts, blanks), calling)
            for index in calling:
                self._choices[index].held.append(held)
            self._push(held, tuple(finished) or None)
            self._finish(finished)
            return
        self._finish(finished)
        if self.inspector.stopped is not None:
            ends: dict[Path, bytes] = {("choices", place, "finish_reason"): b"null" for place in range(len(choices))}
            self._push(TextFrame(frame, data, parts, {**blanks, **ends}))
            return
        frame, data = self._stops(frame, data, choices)
        self._push(TextFrame(frame, data, parts, blanks) if parts else frame, tuple(finished) or None, quiet=quiet)

    def _stops(self, frame: bytes, data: bytes, choices: list[Any]) -> tuple[bytes, bytes]:
        """The frame with another reason to finish for choices of whose calls none was let through."""
        changes: dict[Path, bytes] = {}
        for place, each in enumerate(choices):
            choice = table(each)
            if choice.get("finish_reason") in _FOR_CALLS and not self._choices[_index(choice)].let_through:
                changes["choices", place, "finish_reason"] = b'"stop"'
        if not changes:
            return frame, data
        frame = changed(frame, data, changes)
        return frame, sse.parse(frame).data or b""

    def _finish(self, finished: list[int]) -> None:
        for index in finished:
            for name in SHOWN:
                known = self._texts.get(f"choices[{index}].{name}")
                if known is not None:
                    known.show(self.inspector, "", final=True)
            self._decide(index)
            if self.inspector.stopped is not None:
                return

    def _decide_all(self) -> None:
        for index in self._choices:
            self._decide(index)

    def _decide(self, index: int) -> None:
        """All calls of a choice are complete."""
        choice = self._choices[index]
        if not choice.held:
            return
        said: list[tuple[_Call, int, ToolCall, ToolCall | Denied]] = []
        for number, call in sorted(choice.calls.items()):
            asked = ToolCall(call.id, call.name, "".join(call.arguments), _place(index, number))
            said.append((call, number, asked, self.inspector.tool(asked)))
            if self.inspector.stopped is not None:
                return
        if any(asked != answer for _, _, asked, answer in said):
            choice.held[0].extra += self._made(index, said)
            choice.let_through = not all(isinstance(answer, Denied) for *_, answer in said)
            for held in choice.held:
                held.stripped[index] = choice.let_through
        for held in choice.held:
            held.choices.discard(index)
        choice.held.clear()
        choice.calls.clear()

    def _made(self, index: int, said: list[tuple[_Call, int, ToolCall, ToolCall | Denied]]) -> bytes:
        """The chunks of a choice's calls as they go out: those that were let through are numbered anew."""
        out: list[bytes] = []
        denied = [answer.text for *_, answer in said if isinstance(answer, Denied)]
        before = self._texts.get(_text_place(index))
        if denied:
            words = "\n\n".join(denied)
            out.append(self._chunk(index, {"content": f"\n\n{words}" if before is not None and before.seen else words}))
        number = 0
        for call, old, _, answer in said:
            if isinstance(answer, Denied):
                continue
            if old == _OLD:
                function = {"name": answer.name, "arguments": answer.arguments}
                out.append(self._chunk(index, {"function_call": function}))
                continue
            out.append(self._chunk(index, {"tool_calls": [called(call.kind, answer, number)]}))
            number += 1
        return b"".join(out)

    def _chunk(self, index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return sse.encode(dump({**self._head, "choices": [choice]}))

    def _went(self, mark: Any) -> None:
        for index in mark:
            self._choices[index].finished = True

    def _ending(self) -> bytes:
        open_ones = [index for index, choice in sorted(self._choices.items()) if not choice.finished]
        return b"".join(self._chunk(index, {}, "content_filter") for index in open_ones) + _DONE

    def _logged(self, text: Text) -> bool:
        return text.place.startswith("choices[0]")


def called(kind: str, call: ToolCall, number: int | None = None) -> dict[str, Any]:
    """A tool call as Chat Completions writes it."""
    words = "input" if kind == "custom" else "arguments"
    made: dict[str, Any] = {} if number is None else {"index": number}
    return {**made, "id": call.id, "type": kind, kind: {"name": call.name, words: call.arguments}}


def pieces(value: Any) -> Iterator[tuple[str, Path]]:
    """The texts of a `content`, and where in it: one, or some in parts, as a few providers have it."""
    if isinstance(value, list):
        for number, part in enumerate(value):
            words = text(table(part).get("text"))
            if words:
                yield words, (number, "text")
    elif text(value):
        yield value, ()


def _collect(choice: _Choice, delta: dict[str, Any]) -> bool:
    """Take over fragments of tool calls; whether there were any."""
    calls = delta.get("tool_calls")
    found = False
    for place, each in enumerate(calls if isinstance(calls, list) else ()):
        part = table(each)
        number = part.get("index")
        number = number if type(number) is int and number >= 0 else place
        choice.calls.setdefault(number, _Call()).add(part)
        found = True
    old = delta.get("function_call")
    if isinstance(old, dict):
        choice.calls.setdefault(_OLD, _Call()).add_function(old)
        found = True
    return found


def _index(choice: dict[str, Any]) -> int:
    given = choice.get("index")
    return given if type(given) is int else 0


def _text_place(index: int) -> str:
    return f"choices[{index}].content"


def _place(index: int, number: int) -> str:
    return f"choices[{index}].function_call" if number == _OLD else f"choices[{index}].tool_calls[{number}]"
