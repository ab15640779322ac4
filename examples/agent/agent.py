"""An agent with tools: asks the model, runs what it asks for, gives the results back; so many steps and no more.

python agent.py "How much concrete does a canal wall 12 m long, 2.5 m high and 0.3 m thick need?"
"""

from __future__ import annotations

import argparse
import ast
import operator
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import anthropic
from anthropic.types import MessageParam, ToolParam, ToolResultBlockParam, ToolUseBlock

import headgate

MODEL = "claude-haiku-4-5"
MAX_TOKENS = 1000
MAX_STEPS = 8
SYSTEM = "Answer the question. Use the tools for facts about canals and for every calculation."

NOTES = {
    "headgate": "A headgate is the gate at the top of a canal. It decides how much water flows in from upstream.",
    "weir": "A weir is a low wall across a stream. Water flows over it; its height sets the level upstream.",
    "concrete": "Concrete for a canal wall: 2,400 kg per cubic metre. Allow 5 % for waste.",
}
_OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}


class ToolError(Exception):
    """What the model asked for cannot be done. The message is for the model."""


def search_notes(query: str) -> str:
    """Notes whose title is in the query."""
    found = [text for title, text in NOTES.items() if title in query.lower()]
    return "\n".join(found) or f"Nothing found. There are notes on: {', '.join(NOTES)}."


def calculate(expression: str) -> str:
    """Arithmetic, and nothing else: a model's words are never given to eval()."""

    def value(node: ast.AST) -> float:
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return float(node.value)
        if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](value(node.operand))
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](value(node.left), value(node.right))
        raise ToolError("only numbers, + - * / and brackets")

    if len(expression) > 200:
        raise ToolError("at most 200 characters")
    try:
        return f"{value(ast.parse(expression, mode='eval').body):g}"
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError) as error:
        raise ToolError(str(error)) from error


TOOLS: dict[str, Callable[..., str]] = {"search_notes": search_notes, "calculate": calculate}


def _described(name: str, description: str, argument: str) -> ToolParam:
    properties = {argument: {"type": "string"}}
    schema = {"type": "object", "properties": properties, "required": [argument], "additionalProperties": False}
    return {"name": name, "description": description, "input_schema": schema}


DESCRIBED = [
    _described("search_notes", "Search our notes about canals.", "query"),
    _described("calculate", "Work out an arithmetic expression such as 12 * 2.5 * 0.3.", "expression"),
]


@dataclass(slots=True)
class Outcome:
    """How it ended. `complete` is false where the text is not an answer."""

    text: str
    complete: bool
    steps: int


def run_tool(call: ToolUseBlock) -> ToolResultBlockParam:
    """The result for the model. Its mistakes are told to it, so that it can try again; they do not end the program."""
    try:
        tool = TOOLS.get(call.name)
        if tool is None:
            raise ToolError(f"there is no tool {call.name}")
        arguments: Any = call.input
        if not isinstance(arguments, dict) or not all(isinstance(value, str) for value in arguments.values()):
            raise ToolError("the arguments must be strings")
        try:
            result = tool(**arguments)
        except TypeError as error:
            raise ToolError(f"wrong arguments: {error}") from error
        return {"type": "tool_result", "tool_use_id": call.id, "content": result}
    except ToolError as error:
        return {"type": "tool_result", "tool_use_id": call.id, "content": str(error), "is_error": True}


def run(client: anthropic.Anthropic, question: str, max_steps: int = MAX_STEPS) -> Outcome:
    """Until the model has an answer, or `max_steps` calls have been made."""
    messages: list[MessageParam] = [{"role": "user", "content": question}]
    for step in range(1, max_steps + 1):
        message = client.messages.create(
            model=MODEL, max_tokens=MAX_TOKENS, system=SYSTEM, tools=DESCRIBED, messages=messages
        )
        text = "".join(block.text for block in message.content if block.type == "text")
        calls = [block for block in message.content if block.type == "tool_use"]
        tell(step, message.stop_reason, calls)
        if message.stop_reason != "tool_use":
            return Outcome(text, message.stop_reason == "end_turn", step)
        messages.append({"role": "assistant", "content": message.content})
        messages.append({"role": "user", "content": [run_tool(call) for call in calls]})
    return Outcome(f"No answer after {max_steps} steps.", False, max_steps)


def tell(step: int, stop_reason: str | None, calls: list[ToolUseBlock]) -> None:
    """One line per step, with its cost."""
    last = headgate.last()
    cost = last.cost_usd if last is not None else Decimal(0)
    asked = ", ".join(f"{call.name}({call.input})" for call in calls)
    print(f"step {step}: {asked or stop_reason}  ${cost:f}", file=sys.stderr)


def main() -> int:
    """0 with an answer, 1 without."""
    parser = argparse.ArgumentParser(description="Answer a question with the help of tools.")
    parser.add_argument("question")
    parser.add_argument("--max-steps", type=int, default=MAX_STEPS, help=f"calls at most (default {MAX_STEPS})")
    told = parser.parse_args()
    session = f"agent-{uuid.uuid4().hex[:12]}"
    with headgate.Gate.load() as gate, anthropic.Anthropic(http_client=gate.client()) as client:
        try:
            with headgate.caller(task="agent", session=session):
                outcome = run(client, told.question, told.max_steps)
        except anthropic.APIError as error:
            refused = headgate.refusal(error)
            outcome = Outcome(refused.message if refused else f"The provider failed: {error}", False, 0)
        print(outcome.text)
        total = gate.usage(session=session).total
        print(f"{total.exchanges} calls, ${Decimal(total.cost_nano) / 10**9:f}", file=sys.stderr)
    return 0 if outcome.complete else 1


if __name__ == "__main__":
    sys.exit(main())
