"""The conversation of a Chat Completions request as the turns of a Messages request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headgate.core.errors import BadRequest
from headgate.wire.translate import attachments, models, reading, tools
from headgate.wire.translate.reading import Json
from headgate.wire.translate.report import Report

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_MAX_NAME = 128


class Conversation:
    """Builds the turns, message by message.

    Turns of one role become one. Leading system messages are the system prompt. Later ones stand where the model takes
    them: behind a user turn, and before an assistant turn or at the end; else they join the system prompt.

    Attributes:
        turns: what has been translated so far.
        leading: the system prompt's blocks.
    """

    def __init__(self, report: Report, facts: models.Claude) -> None:
        self._report = report
        self._facts = facts
        self._pairing = tools.Pairing(tools.MAX_ID_TO_ANTHROPIC)
        self._waiting: list[Json] = []  # system text that has not found its place yet
        self.turns: list[Json] = []
        self.leading: list[Json] = []

    def add(self, given: Any, where: str) -> None:
        """One message of any role."""
        message = reading.table(given, where)
        role = reading.one_of(message.get("role"), _ROLES, f"{where}.role")
        if message.get("name") is not None and role not in ("tool", "function"):
            self._report.lose("name", f"{where}.name")
        if role in ("system", "developer"):
            self._system(list(self._parts(message.get("content"), where, role)), where)
        elif role == "user":
            self._pairing.closed(where)
            self._append("user", list(self._parts(message.get("content"), where, role)), where)
        elif role == "assistant":
            self._assistant(message, where)
        elif role == "tool":
            self._result(message, where)
        else:
            self._report.lose("functions", where)

    def end(self) -> None:
        """The conversation is over."""
        self._pairing.closed("messages")
        if self.turns and self.turns[-1]["role"] == "assistant":
            self._place("messages")
            last = self.turns[-1]
            if self._facts.prefill:
                _strip_end(last)
            else:
                self._report.lose("prefill", "messages")
                self.turns.pop()
        else:
            self._place("messages")
        if not any(turn["role"] == "user" for turn in self.turns):
            raise BadRequest("`messages` holds nothing that can be translated; at least one user message is required")
        for turn in self.turns:
            turn["content"] = _short(turn["content"])

    def system(self) -> Any:
        """The system prompt: a string, blocks, or None."""
        return _short(self.leading) if self.leading else None

    def instruct(self, words: str) -> None:
        """Add an instruction of ours behind the caller's."""
        self.leading.append(_text(words))

    def _system(self, blocks: list[Json], where: str) -> None:
        if not self.turns:
            self.leading += blocks
        elif blocks and self._facts.system_turns:
            self._waiting += blocks
            if self.turns[-1]["role"] != "user":
                self._report.lose("system_position", where)  # it moves behind the next user turn, or to the top
        elif blocks:
            self._report.lose("system_position", where)
            self.leading += blocks

    def _place(self, where: str) -> None:
        """What waits goes behind the user turn that has just ended; with none there, to the top."""
        if not self._waiting:
            return
        if self.turns[-1]["role"] == "user":
            self.turns.append({"role": "system", "content": self._waiting})
        else:
            self._report.lose("system_position", where)
            self.leading += self._waiting
        self._waiting = []

    def _append(self, role: str, blocks: list[Json], where: str) -> None:
        if not blocks:
            return
        if role == "assistant" and self.turns and self.turns[-1]["role"] == "user":
            self._place(where)
        elif role == "user" and self._waiting and self.turns[-1]["role"] == "user":
            self._report.lose("system_position", where)  # the user turn goes on behind it
        if self.turns and self.turns[-1]["role"] == role:
            self.turns[-1]["content"] += blocks
        else:
            self.turns.append({"role": role, "content": blocks})

    def _parts(self, content: Any, where: str, role: str) -> Iterator[Json]:
        """The blocks of a message's content; blank texts, which Anthropic refuses, are left out."""
        if content is None:
            return
        if isinstance(content, str):
            yield from _blocks(content)
            return
        for index, each in enumerate(reading.array(content, f"{where}.content")):
            place = f"{where}.content.{index}"
            part = reading.table(each, place)
            kind = reading.filled(part.get("type"), f"{place}.type")
            if part.get("prompt_cache_breakpoint"):
                self._report.lose("prompt_cache", f"{place}.prompt_cache_breakpoint")
            if kind == "text":
                yield from _blocks(reading.text(part.get("text"), f"{place}.text"))
            elif kind == "refusal" and role == "assistant":
                yield from _blocks(reading.text(part.get("refusal"), f"{place}.refusal"))
            elif role in ("user", "tool"):
                yield from self._attachment(kind, part, place)
            else:
                self._report.lose("unknown_blocks", place)

    def _attachment(self, kind: str, part: Json, where: str) -> list[Json]:
        if kind == "image_url":
            return attachments.image_to_anthropic(part, where, self._report)
        if kind == "file":
            return attachments.file_to_anthropic(part, where, self._report)
        self._report.lose("audio" if kind == "input_audio" else "unknown_blocks", where)
        return []

    def _assistant(self, message: Json, where: str) -> None:
        self._pairing.closed(where)
        blocks = list(self._parts(message.get("content"), where, "assistant"))
        if message.get("refusal") is not None:
            blocks += _blocks(reading.text(message["refusal"], f"{where}.refusal"))
        if message.get("audio") is not None:
            self._report.lose("audio", f"{where}.audio")
        if message.get("function_call") is not None:
            self._report.lose("functions", f"{where}.function_call")
        if message.get("reasoning_content") or message.get("reasoning") or message.get("reasoning_details"):
            self._report.lose("thinking", where)
        if message.get("tool_calls") is not None:
            listed = reading.array(message["tool_calls"], f"{where}.tool_calls")
            for index, each in enumerate(listed):
                blocks += self._call(each, f"{where}.tool_calls.{index}")
        self._append("assistant", blocks, where)

    def _call(self, given: Any, where: str) -> list[Json]:
        call = reading.table(given, where)
        if call.get("type", "function") != "function":
            self._report.lose("custom_tools", where)
            self._pairing.lost(call.get("id"))
            return []
        function = reading.table(call.get("function"), f"{where}.function")
        block = {
            "type": "tool_use",
            "id": self._pairing.call(call.get("id"), f"{where}.id"),
            "name": tools.name(function.get("name"), f"{where}.function.name", _MAX_NAME),
            "input": tools.wrapped(function.get("arguments"), self._report, f"{where}.function.arguments"),
        }
        return [block]

    def _result(self, message: Json, where: str) -> None:
        told = self._pairing.result(message.get("tool_call_id"), f"{where}.tool_call_id")
        if not told:
            return
        blocks = list(self._parts(message.get("content"), where, "tool"))
        result: Json = {"type": "tool_result", "tool_use_id": told}
        if blocks:
            result["content"] = _short(blocks)
        self._append("user", [result], where)


def _blocks(words: str) -> list[Json]:
    return [_text(words)] if words.strip() else []


def _text(words: str) -> Json:
    return {"type": "text", "text": words}


def _short(blocks: list[Json]) -> Any:
    return blocks[0]["text"] if len(blocks) == 1 and blocks[0]["type"] == "text" else blocks


def _strip_end(turn: Json) -> None:
    """Anthropic refuses a last assistant turn that ends in white space."""
    last = turn["content"][-1]
    if last["type"] == "text":
        last["text"] = last["text"].rstrip()
