"""What an attack is, and what may become of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

DIRECT, ROLE_PLAY, ENCODED, INDIRECT, EXTRACTION = "direct", "role_play", "encoded", "indirect", "extraction"
HIJACK, EXFILTRATION, LEAK, LOOP = "tool_hijack", "exfiltration", "canary_leak", "agent_loop"
FAMILIES = (DIRECT, ROLE_PLAY, ENCODED, INDIRECT, EXTRACTION, HIJACK, EXFILTRATION, LEAK, LOOP)
"""The first five are told apart by how an order reaches the model, the others by what it is after."""

TOOL, LINK, TELL, AGAIN = GOALS = ("tool", "link", "tell", "loop")
"""What an attacker is after: a call of a tool, a link that carries data out, words that are secret, a loop."""

USER, DOCUMENT, RESULT, DESCRIPTION = "user", "document", "tool_result", "tool_description"

INPUT, TOOLS, OUTPUT, NOBODY, THROUGH, ALLOWED, BROKEN = (
    "input",
    "tools",
    "output",
    "no consequence",
    "got through",
    "allowed by a rule",
    "not tried",
)
"""Where an attack ended: at the request, at the tool call, in the answer, nowhere and without a consequence, with the
caller; in a call that the configuration allows on purpose; and what could not be tried."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool of the agent under attack. `properties`: of its arguments' schema."""

    name: str
    description: str
    properties: dict[str, Any] = field(default_factory=dict)

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the arguments."""
        return {"type": "object", "properties": self.properties}


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn. `kind`: "user", "document", "call" (the model's), "result".

    Attributes:
        text: the words; of a call its arguments as JSON text.
        name, id: of a call; of a result the call's id.
        question: what the user says to a document.
    """

    kind: str
    text: str
    name: str = ""
    id: str = ""
    question: str = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is sent."""

    system: str
    turns: tuple[Turn, ...]
    tools: tuple[ToolSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack.

    Attributes:
        name: unique, "tool_hijack-07".
        channel: where the attacker's words stand.
        impact: what it could have done, in a few words.
        tool: that it is after; of a loop the one that is called.
        reachable: the tool is one that the configuration names; what a rule allows is told, and is no hole.
    """

    name: str
    family: str
    goal: str
    channel: str
    conversation: Conversation
    impact: str
    tool: str = ""
    reachable: bool = False


@dataclass(frozen=True, slots=True)
class Way:
    """How calls are made. `dialect`: "anthropic" or "openai"."""

    dialect: str
    streamed: bool

    def __str__(self) -> str:
        return f"{self.dialect}, {'streamed' if self.streamed else 'whole'}"


WAYS = tuple(Way(dialect, streamed) for dialect in ("anthropic", "openai") for streamed in (False, True))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attack, one way.

    Attributes:
        ended: one of the words above.
        reasons: of the guards that had something to say: "tools:unknown", "leak:canary".
        detail: a sentence of what got through, or why it could not be tried; never what was told.
    """

    attack: Attack
    way: Way
    ended: str
    reasons: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """Something harmless that has to go on working.

    Attributes:
        tool: that is to be called, "" for a chat.
        arguments: that it is to be called with.
        result: what the tool says.
        fact: of the result; the answer has to tell it.
    """

    name: str
    conversation: Conversation
    tool: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    result: str = ""
    fact: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """Whether a harmless task was done, one way."""

    task: Task
    way: Way
    completed: bool
    reasons: tuple[str, ...] = ()
    detail: str = ""
