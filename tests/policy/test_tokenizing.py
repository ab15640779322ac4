"""Exact counts with tiktoken: only ever with a vocabulary that is here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiktoken
import tiktoken.load
from hypothesis import given
from hypothesis import strategies as st

from headgate.policy import tokenizing
from headgate.policy.tokenizing import count_messages, encoder_for


def bytewise() -> tiktoken.Encoding:
    """A vocabulary without any merges: a token for each byte."""
    ranks = {bytes([byte]): byte for byte in range(256)}
    return tiktoken.Encoding("bytewise", pat_str=r"[\s\S]", mergeable_ranks=ranks, special_tokens={})


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No vocabulary is here, and fetching one fails the test."""

    def fetched(path: str) -> bytes:
        raise AssertionError(f"tiktoken would have fetched {path}")

    monkeypatch.setattr(tiktoken.load, "read_file", fetched)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    tokenizing._known.clear()
    yield
    tokenizing._known.clear()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vocabulary is here."""
    monkeypatch.setattr(tokenizing, "_is_here", lambda name: True)
    monkeypatch.setattr(tiktoken, "get_encoding", lambda name: bytewise())


TEXT = [{"role": "user", "content": "hello"}]


def test_without_a_vocabulary_nothing_is_counted_and_nothing_is_fetched() -> None:
    assert count_messages("gpt-4o", TEXT) is None
    assert encoder_for("gpt-4o") is None


@pytest.mark.parametrize("folder", ["", "/nowhere/at/all"])
def test_a_cache_that_is_off_or_missing_is_no_vocabulary(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", folder)
    assert count_messages("gpt-4o", TEXT) is None


def test_a_file_with_another_digest_is_not_used_because_tiktoken_would_fetch_it_anew(tmp_path: Path) -> None:
    (tmp_path / tokenizing._FILES["o200k_base"][0]).write_bytes(b"aGVsbG8= 0\n")
    assert count_messages("gpt-4o", TEXT) is None


def test_the_file_with_the_right_digest_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = tokenizing._FILES["o200k_base"][0]
    (tmp_path / name).write_bytes(b"aGVsbG8= 0\n")
    digest = hashlib.sha256(b"aGVsbG8= 0\n").hexdigest()
    monkeypatch.setitem(tokenizing._FILES, "o200k_base", (name, digest))
    monkeypatch.setattr(tiktoken, "get_encoding", lambda name: bytewise())
    assert encoder_for("gpt-4o") is not None


def test_the_names_of_the_files_are_those_that_tiktoken_looks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetched(path: str) -> bytes:
        asked.append(path)
        raise OSError

    monkeypatch.setattr(tiktoken.load, "read_file", fetched)
    for name, (file, _) in tokenizing._FILES.items():
        with pytest.raises(OSError):
            tiktoken.get_encoding(name)
        assert hashlib.sha1(asked[-1].encode()).hexdigest() == file


@pytest.mark.usefixtures("here")
def test_a_chat_of_texts_is_counted_with_its_framing() -> None:
    assert count_messages("gpt-4o", TEXT) == 3 + 3 + len("user") + len("hello")
    named = [{"role": "user", "name": "ada", "content": [{"type": "text", "text": "é"}]}, *TEXT]
    assert count_messages("gpt-4o", named) == 3 + (3 + 4 + 2 + 1 + 3) + (3 + 4 + 5)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "messages",
    [
        None,
        [],
        "hello",
        [1],
        [{"role": "user"}],
        [{"role": 1, "content": "x"}],
        [{"role": "assistant", "content": "x", "tool_calls": []}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
        [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
        [{"role": "user", "content": "x", "name": 7}],
    ],
)
def test_what_cannot_be_counted_exactly_is_not_counted(messages: Any) -> None:
    assert count_messages("gpt-4o", messages) is None


@pytest.mark.usefixtures("here")
def test_a_model_that_tiktoken_does_not_know_is_not_counted() -> None:
    assert count_messages("claude-haiku-4-5", TEXT) is None
    assert count_messages("gpt-9-none", TEXT) is None


@given(st.lists(st.text(max_size=50), min_size=1, max_size=5))
def test_no_text_raises_and_special_tokens_are_text(texts: list[str]) -> None:
    tokenizing._known["gpt-4o"] = bytewise()
    messages = [{"role": "user", "content": text + "<|endoftext|>"} for text in texts]
    found = count_messages("gpt-4o", messages)
    assert found is not None
    assert found >= sum(len(text) for text in texts)
