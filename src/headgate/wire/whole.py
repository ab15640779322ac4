"""A whole JSON answer under an `Inspector`: its texts and tool calls are shown, and changed by splices in the bytes."""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.core.guards import Denied, Inspector, ToolCall
from headgate.wire.gate_chat import SHOWN, called, pieces
from headgate.wire.gate_responses import ResponsesGate
from headgate.wire.gates import Part, Text
from headgate.wire.jsonplace import Path, decoded, dump, place, put
from headgate.wire.jsontext import insert
from headgate.wire.lenient import table, text


def inspect_whole(endpoint: str, body: bytes, inspector: Inspector) -> bytes:
    """The answer as it goes out. Where `inspector.stopped` is set afterwards, nothing of it may.

    Args:
        endpoint: "messages", "chat" or "responses"; of "stored", what is kept of the last; any other is no answer.
        body: decoded, as JSON.
    """
    answer = decoded(body)
    if answer is None or answer.get("error"):
        return body
    if endpoint == "messages":
        return _messages(body, answer, inspector)
    if endpoint == "chat":
        return _chat(body, answer, inspector)
    if endpoint == "responses" or answer.get("object") == "response":
        return ResponsesGate(inspector).whole(body, answer)
    return body


def _seen(inspector: Inspector, where: str, words: str) -> str:
    shown = Text(where)
    shown.show(inspector, words, final=True)
    return shown.take(0, words)


def _messages(body: bytes, answer: dict[str, Any], inspector: Inspector) -> bytes:
    changes: dict[Path, bytes] = {}
    let_through = denied = 0
    content = answer.get("content")
    for number, each in enumerate(content if isinstance(content, list) else ()):
        block, where = table(each), f"content[{number}]"
        kind, path = text(block.get("type")), ("content", number)
        if kind == "text":
            words = text(block.get("text"))
            made = _seen(inspector, where, words)
            if made != words:
                changes[*path, "text"] = dump(made)
        elif kind == "tool_use" and inspector.tools:
            given = block.get("input")
            asked = ToolCall(text(block.get("id")), text(block.get("name")), dump(given or {}).decode(), where)
            said = inspector.tool(asked)
            if isinstance(said, Denied):
                denied += 1
                changes[path] = dump({"type": "text", "text": said.text})
            else:
                let_through += 1
                changes.update(_edited_block(path, asked, said))
        elif kind == "tool_use":
            let_through += 1
        if inspector.stopped is not None:
            return body
    if denied and not let_through and answer.get("stop_reason") == "tool_use":
        changes["stop_reason",] = b'"end_turn"'
    return put(body, changes) if changes else body


def _edited_block(path: Path, asked: ToolCall, said: ToolCall) -> dict[Path, bytes]:
    changes: dict[Path, bytes] = {}
    if said.name != asked.name:
        changes[*path, "name"] = dump(said.name)
    if said.arguments != asked.arguments:
        try:
            changes[*path, "input"] = dump(msgspec.json.decode(said.arguments))
        except msgspec.DecodeError:
            changes[*path, "input"] = b"{}"
    return changes


def _chat(body: bytes, answer: dict[str, Any], inspector: Inspector) -> bytes:
    changes: dict[Path, bytes] = {}
    choices = answer.get("choices")
    for number, each in enumerate(choices if isinstance(choices, list) else ()):
        choice = table(each)
        message = table(choice.get("message"))
        path: Path = ("choices", number)
        edits = _chat_texts(number, message, inspector)
        if inspector.stopped is None and inspector.tools:
            calls, denied, left = _chat_calls(number, message, inspector)
            edits.update(calls)
            if denied:
                _said_instead(message, edits, denied)
            if denied and not left and choice.get("finish_reason") in ("tool_calls", "function_call"):
                changes[*path, "finish_reason"] = b'"stop"'
        if inspector.stopped is not None:
            return body
        if edits and choice.get("logprobs"):
            changes[*path, "logprobs"] = b"null"
        if edits and "content" not in message:
            body = _with_content(body, (*path, "message"))
        for inside, value in edits.items():
            changes[*path, "message", *inside] = value
    return put(body, changes) if changes else body


def _with_content(body: bytes, path: Path) -> bytes:
    span = place(body, path)
    if span is None:
        return body
    return body[: span.start] + insert(body[span.start : span.end], b"content", b"null") + body[span.end :]


def _chat_texts(number: int, message: dict[str, Any], inspector: Inspector) -> dict[Path, bytes]:
    parts: list[Part] = []
    for name in SHOWN:
        shown = Text(f"choices[{number}].{name}")
        found = list(pieces(message.get(name)))
        for at, (words, inside) in enumerate(found, 1):
            shown.show(inspector, words, final=at == len(found))
            parts.append(Part(shown, words, (name, *inside)))
    made = {part.path: (part.piece, part.text.take(part.start, part.piece)) for part in parts}
    return {path: dump(after) for path, (before, after) in made.items() if after != before}


def _chat_calls(number: int, message: dict[str, Any], inspector: Inspector) -> tuple[dict[Path, bytes], str, bool]:
    """(what the calls become, what is said in the place of those that were denied, whether any is left)."""
    edits: dict[Path, bytes] = {}
    listed = message.get("tool_calls")
    calls = [table(each) for each in listed] if isinstance(listed, list) else []
    kept: list[dict[str, Any]] = []
    denied: list[str] = []
    for at, each in enumerate(calls):
        kind = text(each.get("type")) or "function"
        asked = _asked(text(each.get("id")), table(each.get(kind)), f"choices[{number}].tool_calls[{at}]")
        said = inspector.tool(asked)
        if isinstance(said, Denied):
            denied.append(said.text)
        else:
            kept.append(each if said == asked else called(kind, said))
    if kept != calls:
        edits["tool_calls",] = dump(kept or None)
    old = message.get("function_call")
    if isinstance(old, dict):
        asked = _asked("", old, f"choices[{number}].function_call")
        said = inspector.tool(asked)
        if isinstance(said, Denied):
            denied.append(said.text)
            edits["function_call",] = b"null"
            old = None
        elif said != asked:
            edits["function_call",] = dump({"name": said.name, "arguments": said.arguments})
    return edits, "\n\n".join(denied), bool(kept or old)


def _said_instead(message: dict[str, Any], edits: dict[Path, bytes], words: str) -> None:
    """Put a denial behind what the message says."""
    content = message.get("content")
    if isinstance(content, list):
        said = [table(part) for part in content]
        for path in [path for path in edits if path[0] == "content"]:
            place_in = path[1]
            assert isinstance(place_in, int)
            said[place_in] = {**said[place_in], "text": msgspec.json.decode(edits.pop(path))}
        edits["content",] = dump([*said, {"type": "text", "text": words}])
        return
    made = edits.get(("content",))
    before = text(content) if made is None else msgspec.json.decode(made, type=str)
    edits["content",] = dump(f"{before}\n\n{words}" if before else words)


def _asked(given: str, function: dict[str, Any], where: str) -> ToolCall:
    arguments = text(function.get("arguments")) or text(function.get("input"))
    return ToolCall(given, text(function.get("name")), arguments, where)
