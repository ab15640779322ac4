"""A chat page whose answers stream, with the provider's key on the server.

Run it from this folder: uvicorn app:app
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import anthropic
from fastapi import Cookie, FastAPI, Request
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

import headgate

MODEL = "claude-haiku-4-5"
MAX_TOKENS = 1000
SYSTEM = "You are a friendly assistant. Answer briefly, in plain text."
STATIC = Path(__file__).parent / "static"
# No inline script, nothing from elsewhere: what a model writes cannot become code on this page.
CSP = "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

log = logging.getLogger("chat")


class Turn(BaseModel):
    """One turn of the conversation."""

    role: Literal["user", "assistant"]
    content: Annotated[str, Field(min_length=1, max_length=8_000)]


class Conversation(BaseModel):
    """All of it: the page keeps it, the server keeps nothing. Limits, because a stranger sends this."""

    turns: Annotated[list[Turn], Field(min_length=1, max_length=40)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One gate and one client for the whole process."""
    with headgate.Gate.load() as gate:
        async with anthropic.AsyncAnthropic(http_client=gate.async_client()) as client:
            app.state.client = client
            yield


app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
app.mount("/static", StaticFiles(directory=STATIC))


@app.get("/")
async def page(visitor: Annotated[str | None, Cookie()] = None) -> FileResponse:
    """The page, and a name for who reads it. Where you have a login, use its user id instead."""
    response = FileResponse(STATIC / "index.html", headers={"content-security-policy": CSP})
    if visitor is None:
        response.set_cookie("visitor", secrets.token_urlsafe(16), httponly=True, samesite="strict")
    return response


@app.post("/chat", response_class=EventSourceResponse)
async def chat(
    request: Request, conversation: Conversation, visitor: Annotated[str | None, Cookie()] = None
) -> AsyncIterator[ServerSentEvent]:
    """The answer as it comes: `text` events, then `done` or `failed`, each with a JSON string.

    When the browser leaves (the Stop button, a closed tab), this is cancelled, and with it the provider's answer.
    """
    client: anthropic.AsyncAnthropic = request.app.state.client
    turns: list[Any] = [turn.model_dump() for turn in conversation.turns]
    try:
        # Who asks is settled when the call is made; nothing may be yielded inside.
        with headgate.caller(user=visitor or "nobody", task="chat"):
            stream = await client.messages.create(
                model=MODEL, max_tokens=MAX_TOKENS, system=SYSTEM, messages=turns, stream=True
            )
        stop_reason = None
        async with stream:
            async for event in stream:
                if event.type == "content_block_delta" and event.delta.type == "text_delta":
                    yield ServerSentEvent(event="text", data=event.delta.text)
                elif event.type == "message_delta":
                    stop_reason = event.delta.stop_reason
        log.info("answered: %s", headgate.last())
        yield ServerSentEvent(event="done", data=remark(stop_reason))
    except Exception as error:
        # The person at the page gets a sentence; what happened is in the log, by exchange.
        log.warning("failed: %s: %s", headgate.last(), error)
        yield ServerSentEvent(event="failed", data=sentence(error))


def remark(stop_reason: str | None) -> str:
    """What to say below a complete answer, "" if nothing."""
    if stop_reason == "max_tokens":
        return "The answer reached its length limit."
    if stop_reason == "refusal":
        return "The assistant prefers not to answer this."
    return ""


def sentence(error: Exception) -> str:
    """What went wrong, for the person at the page."""
    refused = headgate.refusal(error)
    if refused is not None and refused.code == "budget_exceeded":
        return "You have used up what this page may spend for you today. Please come back tomorrow."
    if refused is not None and refused.status_hint == 429:
        return "That was a little too fast. Please wait a minute and try again."
    if refused is not None and refused.code == "content_blocked":
        return "This message cannot be sent. Please put it in other words."
    if refused is None and isinstance(error, anthropic.APIStatusError) and error.status_code == 200:
        return "The answer broke off. Please try again."
    if refused is None and isinstance(error, anthropic.APIError):
        return "The assistant is not available right now. Please try again in a few minutes."
    return "Something is wrong on our side. We are looking into it."
