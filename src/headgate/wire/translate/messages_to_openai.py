"""The conversation of a Messages request as messages of Chat Completions."""

from __future__ import annotations

from typing import Any

from headgate.core.errors import BadRequest
from headgate.wire.translate import attachments, reading, tools
from headgate.wire.translate.reading import Json
from headgate.wire.translate.report import Report

_SERVER = ("server_tool_use", "mcp_tool_use", "mcp_tool_result", "tool_reference")
_STATE = ("container_upload", "compaction")
_SYSTEM_TOOLS = ("tool_addition", "tool_removal")
_THINKING = ("thinking", "redacted_thinking")


class Conversation:
    """Builds the messages, turn by turn.

    Attributes:
        messages: what has been translated so far.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._pairing = tools.Pairing(tools.MAX_ID_TO_OPENAI)
        self._held: list[Json] = []  # parts of the user's, behind the last result of the turn before
        self.messages: list[Json] = []

    def system(self, given: Any, where: str = "system") -> None:
        """A system prompt, at the top or behind a turn."""
        if isinstance(given, str):
            parts = [{"type": "text", "text": given}] if given else []
        else:
            parts = self._system_parts(reading.array(given, where), where)
        if parts:
            self.messages.append({"role": "system", "content": _short(parts)})

    def _system_parts(self, blocks: list[Any], where: str) -> list[Json]:
        parts = []
        for index, each in enumerate(blocks):
            place = f"{where}.{index}"
            block = self._block(each, place)
            if block.get("type") in _SYSTEM_TOOLS:
                self._report.lose("custom_tools", place)
            elif block.get("type") == "text":
                parts += self._text(block, place)
            else:
                self._report.lose("unknown_blocks", place)
        return parts

    def turn(self, given: Any, where: str) -> None:
        """One message of any role."""
        message = reading.table(given, where)
        role = reading.one_of(message.get("role"), ("user", "assistant", "system"), f"{where}.role")
        content = message.get("content")
        if role == "system":
            if message.get("output_config"):
                self._report.lose("beta_features", f"{where}.output_config")
            self.system(content, f"{where}.content")
            return
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        listed = [
            (self._block(each, f"{where}.content.{i}"), f"{where}.content.{i}")
            for i, each in enumerate(reading.array(blocks, f"{where}.content"))
        ]
        if role == "assistant":
            self._assistant(listed, where)
        else:
            self._user(listed)

    def end(self) -> None:
        """The conversation is over."""
        self._pairing.closed("messages")
        if self.messages and self.messages[-1]["role"] == "assistant":
            self._report.lose("prefill", "messages")
            self.messages.pop()
        if not any(message["role"] != "system" for message in self.messages):
            raise BadRequest("`messages` holds nothing that can be translated; at least one user message is required")

    def _block(self, given: Any, where: str) -> Json:
        block = reading.table(given, where)
        reading.filled(block.get("type"), f"{where}.type")
        if block.get("cache_control"):
            self._report.lose("cache_control", f"{where}.cache_control")
        return block

    def _text(self, block: Json, where: str) -> list[Json]:
        if block.get("citations"):
            self._report.lose("citations", f"{where}.citations")
        told = reading.text(block.get("text"), f"{where}.text")
        return [{"type": "text", "text": told}] if told else []

    def _assistant(self, blocks: list[tuple[Json, str]], where: str) -> None:
        goes_on = bool(self.messages) and self.messages[-1]["role"] == "assistant"
        if not goes_on:
            self._pairing.closed(where)
        words: list[str] = []
        calls: list[Json] = []
        for block, place in blocks:
            kind = block["type"]
            if kind == "text":
                words += [part["text"] for part in self._text(block, place)]
            elif kind == "tool_use":
                calls.append(self._call(block, place))
            elif kind in _THINKING:
                self._report.lose("thinking", place)
            else:
                self._strange(kind, place)
        if not (words or calls):
            return
        if not goes_on:
            self.messages.append({"role": "assistant", "content": None})
        message = self.messages[-1]
        if words:
            message["content"] = (message["content"] or "") + "".join(words)
        if calls:
            message["tool_calls"] = message.get("tool_calls", []) + calls

    def _call(self, block: Json, where: str) -> Json:
        if block.get("toolset_name"):
            self._report.lose("custom_tools", f"{where}.toolset_name")
        given = reading.table(block.get("input"), f"{where}.input")
        function = {
            "name": tools.name(block.get("name"), f"{where}.name", 64),
            "arguments": reading.dump(given).decode(),
        }
        return {"id": self._pairing.call(block.get("id"), f"{where}.id"), "type": "function", "function": function}

    def _user(self, blocks: list[tuple[Json, str]]) -> None:
        for block, place in blocks:
            if block["type"] == "tool_result":
                self._held += self._result(block, place)
            else:
                self._held += self._part(block, place)
        if self._held and self._pairing.complete:  # the next turn may be the user's too, and bring more results
            self.messages.append({"role": "user", "content": _short(self._held)})
            self._held = []

    def _part(self, block: Json, where: str) -> list[Json]:
        kind = block["type"]
        if kind == "text":
            return self._text(block, where)
        if kind == "image":
            return attachments.image_to_openai(block, where, self._report)
        if kind == "document":
            return attachments.document_to_openai(block, where, self._report)
        if kind == "search_result":
            return attachments.search_result_to_openai(block, where, self._report)
        self._strange(kind, where)
        return []

    def _result(self, block: Json, where: str) -> list[Json]:
        """One tool message; what it cannot hold is returned as parts of a user message behind."""
        told = self._pairing.result(block.get("tool_use_id"), f"{where}.tool_use_id")
        content = block.get("content")
        words: list[str] = []
        beside: list[Json] = []
        if isinstance(content, str):
            words.append(content)
        elif content is not None:
            for index, each in enumerate(reading.array(content, f"{where}.content")):
                place = f"{where}.content.{index}"
                for part in self._part(self._block(each, place), place):
                    if part["type"] == "text":
                        words.append(part["text"])
                    else:
                        beside.append(part)
        said = "\n".join(words)
        if block.get("is_error") is True:
            said = f"Error: {said}"
        self.messages.append({"role": "tool", "tool_call_id": told, "content": said})
        return [{"type": "text", "text": f"Belongs to the result of tool call {told}:"}, *beside] if beside else []

    def _strange(self, kind: str, where: str) -> None:
        if kind in _SERVER or kind.endswith("_tool_result"):
            self._report.lose("server_tools", where)
        else:
            self._report.lose("server_state" if kind in _STATE else "unknown_blocks", where)


def _short(parts: list[Json]) -> Any:
    """A single text as a string, which every compatible provider takes."""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts
