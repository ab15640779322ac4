"""The gate of a Responses stream, which says everything three times: in deltas, in done events, and in the whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headgate.core.guards import Denied, Inspector, ToolCall
from headgate.wire import sse
from headgate.wire.gates import Gate, Held, Later, Part, Text, TextFrame, changed
from headgate.wire.jsonplace import Path, decoded, dump, put
from headgate.wire.lenient import table, text

ASKS = {
    "function_call": "arguments",
    "custom_tool_call": "input",
    "mcp_call": "arguments",
    "mcp_approval_request": "arguments",
    "computer_call": "action",
    "local_shell_call": "action",
    "shell_call": "action",
    "apply_patch_call": "operation",
}
"""Items that are tool calls, and the member that says what is asked: by the caller's own code, or after its approval.
An `mcp_call` has run by the time it is told; what it brought back is in it, and goes with it."""

_TEXTS = {"output_text": "text", "refusal": "refusal"}  # parts of a message, and where their text is
_DELTAS = {"response.output_text.delta": "output_text", "response.refusal.delta": "refusal"}
_REPEATS = {"response.output_text.done": "text", "response.refusal.done": "refusal"}
_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_LIFE_CYCLE = frozenset({"response.created", "response.in_progress", "response.queued"})
_QUIET = frozenset({"keepalive", "ping"})


@dataclass(slots=True)
class _Told:
    """A text that an event repeats, or tells for the first time (`part`)."""

    path: Path
    text: Text
    piece: str
    logprobs: bool
    part: Part | None


@dataclass(slots=True)
class _Decided:
    """What became of a tool call. `item` stands in the place of one that was denied; `said` is an edited one."""

    item: dict[str, Any] | None = None
    said: ToolCall | None = None


class ResponsesGate(Gate):
    """Texts by output item and content part; tool calls by output item."""

    def __init__(self, inspector: Inspector, *, keep_text: bool = False) -> None:
        super().__init__(inspector, keep_text=keep_text)
        self._kinds: dict[str, str] = {}  # of texts, by place
        self._places: dict[str, int] = {}  # of items, by id
        self._calls: dict[int, list[tuple[Held, bytes, dict[str, Any]]]] = {}  # that are held
        self._decided: dict[int, _Decided] = {}
        self._begun: dict[str, Any] = {}
        self._sent: dict[int, dict[str, Any]] = {}  # items that have gone out, at least their beginning
        self._shift = 0  # what has been added to the events' numbers
        self._number = 0

    def _read(self, frame: bytes, name: bytes, data: bytes) -> None:
        event = decoded(data)
        if event is None:
            self._push(frame, quiet=True)
            return
        kind = text(event.get("type")) or name.decode("utf-8", "replace")
        if kind in _QUIET:
            self._pass(frame)
            return
        if self._shift and type(event.get("sequence_number")) is int:
            frame = changed(frame, data, {("sequence_number",): b"%d" % (event["sequence_number"] + self._shift)})
            data = sse.parse(frame).data or b""
        number = event.get("sequence_number")
        self._number = number + self._shift if type(number) is int else self._number + 1
        self._event(kind, frame, data, event)

    def _event(self, kind: str, frame: bytes, data: bytes, event: dict[str, Any]) -> None:
        index = _index(event, "output_index")
        if kind in _LIFE_CYCLE:
            self._begun = table(event.get("response")) or self._begun
            self._push(frame, quiet=True)
        elif kind == "response.output_item.added" and self._opens_call(table(event.get("item"))):
            self._calls[index] = []
            self._hold(index, frame, data, event)
        elif index in self._calls:
            self._hold(index, frame, data, event)
            if kind == "response.output_item.done":
                self._decide(index, table(event.get("item")))
        elif kind in _DELTAS:
            self._delta(_DELTAS[kind], frame, data, event)
        elif kind in _REPEATS or kind == "response.content_part.done":
            self._part_done(kind, frame, data, event)
        elif kind == "response.content_part.added":
            self._part_added(frame, data, event)
        elif kind in ("response.output_item.added", "response.output_item.done"):
            self._item(kind, frame, data, event)
        elif kind in _TERMINAL:
            self._terminal(frame, data, event)
        else:
            self._push(frame)

    def _opens_call(self, item: dict[str, Any]) -> bool:
        return self.inspector.tools and text(item.get("type")) in ASKS

    def _delta(self, kind: str, frame: bytes, data: bytes, event: dict[str, Any]) -> None:
        place, piece = _place(event), text(event.get("delta"))
        self._kinds[place] = kind
        part = self._shown(place, piece, ("delta",))
        self._push(TextFrame(frame, data, [part], {("logprobs",): b"[]"}), quiet=not piece)

    def _part_added(self, frame: bytes, data: bytes, event: dict[str, Any]) -> None:
        part = table(event.get("part"))
        kind = text(part.get("type"))
        piece = text(part.get(_TEXTS.get(kind, "")))
        if not piece:
            self._push(frame, quiet=True)
            return
        self._kinds[_place(event)] = kind
        shown = self._shown(_place(event), piece, ("part", _TEXTS[kind]))
        self._push(TextFrame(frame, data, [shown], {("part", "logprobs"): b"[]"}))

    def _part_done(self, kind: str, frame: bytes, data: bytes, event: dict[str, Any]) -> None:
        member = _REPEATS.get(kind)
        if member is not None:
            told = [self._told(_place(event), _kind_of(member), event, (), final=True)]
        else:
            part = table(event.get("part"))
            if text(part.get("type")) not in _TEXTS:
                self._push(frame)
                return
            told = [self._told(_place(event), text(part.get("type")), part, ("part",), final=True)]
        self._later(frame, data, told, {})

    def _item(self, kind: str, frame: bytes, data: bytes, event: dict[str, Any]) -> None:
        item, index = table(event.get("item")), _index(event, "output_index")
        self._places[text(item.get("id"))] = index
        final = kind == "response.output_item.done"
        told, changes = self._walk_item(item, index, ("item",), final=final)
        quiet = not final and text(item.get("type")) in ("message", "reasoning")
        self._later(frame, data, told, changes, (index, item), quiet=quiet)

    def _terminal(self, frame: bytes, data: bytes, event: dict[str, Any]) -> None:
        for known in list(self._texts.values()):
            known.show(self.inspector, "", final=True)
        told, changes = self._walk(table(event.get("response")), ("response",))
        if self.inspector.stopped is None:
            self._later(frame, data, told, changes)

    def whole(self, body: bytes, answer: dict[str, Any]) -> bytes:
        """A whole answer, in one piece or as part of the stream, as it goes out. `answer` is `body`, decoded."""
        told, changes = self._walk(answer, ())
        changes.update(self._changes(told))
        return put(body, changes) if changes else body

    def _walk(self, answer: dict[str, Any], path: Path) -> tuple[list[_Told], dict[Path, bytes]]:
        told: list[_Told] = []
        changes: dict[Path, bytes] = {}
        output = answer.get("output")
        for number, each in enumerate(output if isinstance(output, list) else ()):
            item = table(each)
            index = self._places.get(text(item.get("id")), number)
            more, other = self._walk_item(item, index, (*path, "output", number), final=True)
            told += more
            changes.update(other)
            if self.inspector.stopped is not None:
                break
        return told, changes

    def _walk_item(
        self, item: dict[str, Any], index: int, path: Path, *, final: bool
    ) -> tuple[list[_Told], dict[Path, bytes]]:
        if final and self._opens_call(item):
            decided = self._decided.get(index) or self._judge(index, item)
            return [], _call_changes(item, path, decided)
        told = []
        content = item.get("content") if item.get("type") == "message" else None
        for number, each in enumerate(content if isinstance(content, list) else ()):
            part = table(each)
            kind = text(part.get("type"))
            if kind in _TEXTS and (final or part.get(_TEXTS[kind])):
                place = f"output[{index}].content[{number}]"
                told.append(self._told(place, kind, part, (*path, "content", number), final=final))
        return told, {}

    def _told(self, place: str, kind: str, holder: dict[str, Any], path: Path, *, final: bool) -> _Told:
        """A text that stands in `holder`: the whole of one that is known, or one that nobody has seen yet."""
        piece = text(holder.get(_TEXTS[kind]))
        known = self._text(place)
        self._kinds[place] = kind
        where: Path = (*path, _TEXTS[kind])
        logprobs = bool(holder.get("logprobs"))
        if known.seen or known.final:
            if final:
                known.show(self.inspector, "", final=True)
            return _Told(where, known, piece, logprobs, None)
        part = self._shown(place, piece, where, final=final)
        return _Told(where, known, piece, logprobs, part)

    def _later(
        self,
        frame: bytes,
        data: bytes,
        told: list[_Told],
        changes: dict[Path, bytes],
        mark: Any = None,
        *,
        quiet: bool = False,
    ) -> None:
        fresh = [each.part for each in told if each.part is not None and each.piece]
        if fresh and not changes and len(fresh) == len(told):
            blanks: dict[Path, bytes] = {(*each.path[:-1], "logprobs"): b"[]" for each in told if each.logprobs}
            self._push(TextFrame(frame, data, fresh, blanks), mark)
            return

        def make() -> bytes:
            every = {**changes, **self._changes(told)}
            return changed(frame, data, every) if every else frame

        self._push(Later(make, len(frame)), mark, quiet=quiet)

    def _changes(self, told: list[_Told]) -> dict[Path, bytes]:
        changes: dict[Path, bytes] = {}
        for each in told:
            if each.part is not None:
                made = each.text.take(each.part.start, each.piece)
                same = made == each.piece
            else:
                made = each.text.gone()
                same = not each.text.changed and _joined(made) == _joined(each.piece)
            if not same:
                changes[each.path] = dump(made)
                if each.logprobs:
                    changes[*each.path[:-1], "logprobs"] = b"[]"
        return changes

    def _hold(self, index: int, frame: bytes, data: bytes, event: dict[str, Any]) -> None:
        held = Held(frame)
        self._calls[index].append((held, data, event))
        self._push(held)

    def _judge(self, index: int, item: dict[str, Any]) -> _Decided:
        asked = _asked(item, index)
        said = self.inspector.tool(asked)
        decided = self._decided[index] = _Decided()
        if isinstance(said, Denied):
            decided.item = _message(item, said.text)
        elif said != asked:
            decided.said = said
        return decided

    def _decide(self, index: int, item: dict[str, Any]) -> None:
        frames = self._calls.pop(index)
        decided = self._judge(index, item)
        if self.inspector.stopped is not None:
            return
        if decided.item is not None:
            number = _index(frames[0][2], "sequence_number") + self._shift
            told = _message_events(index, decided.item, text(decided.item["content"][0]["text"]))
            for held, _, _ in frames:
                held.made = b""
            frames[0][0].made = b"".join(
                sse.encode(dump({"type": kind, "sequence_number": number + at, **fields}), kind)
                for at, (kind, fields) in enumerate(told)
            )
            added = max(len(told) - len(frames), 0)
            self._shift += added
            self._number += added
        else:
            _release(frames, item, decided.said)

    def _went(self, mark: Any) -> None:
        index, item = mark
        self._sent[index] = item

    def _ending(self) -> bytes:
        response = {
            **self._begun,
            "status": "incomplete",
            "incomplete_details": {"reason": "content_filter"},
            "output": [self._so_far(index, item) for index, item in sorted(self._sent.items())],
        }
        kind = "response.incomplete"
        return sse.encode(dump({"type": kind, "sequence_number": self._number + 1, "response": response}), kind)

    def _so_far(self, index: int, item: dict[str, Any]) -> dict[str, Any]:
        if item.get("type") != "message":
            return item
        prefix = f"output[{index}].content["
        content = [
            _part(self._kinds.get(place, "output_text"), known.gone())
            for place, known in self._texts.items()
            if place.startswith(prefix)
        ]
        return {**item, "status": "incomplete", "content": content}


def _release(frames: list[tuple[Held, bytes, dict[str, Any]]], item: dict[str, Any], said: ToolCall | None) -> None:
    """A call that was let through: as it came, or with what it was edited to in the place of what it asked."""
    for held, _, _ in frames:
        held.made = held.frame
    if said is None:
        return
    field = ASKS[text(item.get("type"))]
    told = False
    for held, data, event in frames:
        kind = text(event.get("type"))
        if kind.endswith(".delta"):
            held.made = b"" if told else changed(held.frame, data, {("delta",): dump(said.arguments)})
            told = True
        elif kind == "response.output_item.done":
            held.made = changed(held.frame, data, _call_changes(item, ("item",), _Decided(said=said)))
        elif kind == "response.output_item.added":
            held.made = changed(held.frame, data, {("item", "name"): dump(said.name)})
        else:
            held.made = changed(held.frame, data, {(field,): dump(said.arguments), ("name",): dump(said.name)})


def _call_changes(item: dict[str, Any], path: Path, decided: _Decided) -> dict[Path, bytes]:
    if decided.item is not None:
        return {path: dump(decided.item)}
    said = decided.said
    if said is None:
        return {}
    field = ASKS[text(item.get("type"))]
    value = dump(said.arguments)
    if not isinstance(item.get(field), str):
        value = said.arguments.encode("utf-8", "replace") if decoded(said.arguments.encode()) is not None else value
    return {(*path, field): value, (*path, "name"): dump(said.name)}


def _asked(item: dict[str, Any], index: int) -> ToolCall:
    kind = text(item.get("type"))
    value = item.get(ASKS[kind])
    arguments = value if isinstance(value, str) else dump(value).decode()
    name = text(item.get("name")) or kind.removesuffix("_call")
    return ToolCall(text(item.get("call_id")) or text(item.get("id")), name, arguments, f"output[{index}]")


def _message(item: dict[str, Any], words: str) -> dict[str, Any]:
    """What stands in the place of a call."""
    given = text(item.get("id")) or text(item.get("call_id"))
    return {
        "id": f"msg_{given.partition('_')[2] or given or 'denied'}",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [_part("output_text", words)],
    }


def _part(kind: str, words: str) -> dict[str, Any]:
    if kind == "refusal":
        return {"type": "refusal", "refusal": words}
    return {"type": "output_text", "text": words, "annotations": [], "logprobs": []}


def _message_events(index: int, item: dict[str, Any], words: str) -> list[tuple[str, dict[str, Any]]]:
    at = {"item_id": item["id"], "output_index": index, "content_index": 0}
    begun = {**item, "status": "in_progress", "content": []}
    return [
        ("response.output_item.added", {"output_index": index, "item": begun}),
        ("response.content_part.added", {**at, "part": _part("output_text", "")}),
        ("response.output_text.delta", {**at, "delta": words, "logprobs": []}),
        ("response.output_text.done", {**at, "text": words, "logprobs": []}),
        ("response.content_part.done", {**at, "part": _part("output_text", words)}),
        ("response.output_item.done", {"output_index": index, "item": item}),
    ]


def _kind_of(member: str) -> str:
    return "refusal" if member == "refusal" else "output_text"


def _joined(words: str) -> str:
    """With the halves of a character that two deltas brought put together."""
    return words if words.isascii() else words.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _place(event: dict[str, Any]) -> str:
    return f"output[{_index(event, 'output_index')}].content[{_index(event, 'content_index')}]"


def _index(event: dict[str, Any], name: str) -> int:
    given = event.get(name)
    return given if type(given) is int else -1
