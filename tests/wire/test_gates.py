"""Gates: bytes that pass, texts that are edited, and streams that are stopped, as the real SDKs read them."""

from __future__ import annotations

import json

import pytest
from gate_streams import (
    COMMENT,
    DONE,
    HIT,
    M_START,
    PING,
    R_USAGE,
    STREAMS,
    Numbered,
    Player,
    chat,
    chunk,
    cut,
    event,
    m_end,
    m_text,
    messages,
    r_message,
    r_response,
    responses,
    run,
    sdk_completion,
    sdk_message,
    sdk_response,
    sdk_texts,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.exchange import Facts
from headgate.wire import ANTHROPIC
from headgate.wire.gated import blocked, gated

ENDPOINTS = pytest.mark.parametrize("endpoint", list(STREAMS))
WORDS = ["Hel", "lo, ", "", "wörld 😀", ' "quoted" \\ ', "\n", "end"]
pieces = st.lists(st.text(st.sampled_from('abS"\\\n\u00e9😀'), max_size=5), max_size=8)
places = st.lists(st.integers(0, 4000), max_size=12)


@ENDPOINTS
@given(said=pieces, at=places, behind=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_a_stream_that_is_let_through_passes_byte_for_byte_however_it_is_cut(
    endpoint: str, said: list[str], at: list[int], behind: int
) -> None:
    stream = STREAMS[endpoint](said)
    frames = [each + b"\n\n" for each in stream.split(b"\n\n") if each]
    out = run(endpoint, cut(stream, at), Player(behind=behind))[1]
    assert sorted(out.split(b"\n\n")) == sorted(stream.split(b"\n\n"))  # pings overtake what waits, and nothing else
    beside = (PING, COMMENT)
    assert [f for f in frames if f not in beside] == [
        each + b"\n\n" for each in out.split(b"\n\n") if each and each + b"\n\n" not in beside
    ]
    if behind == 0:
        assert out == stream


@ENDPOINTS
@given(said=pieces, at=places, good=st.sampled_from(["", "x", "longer 😀"]), bad=st.sampled_from(["a", "ab", "bSa"]))
@settings(max_examples=60, deadline=None)
def test_edits_make_the_same_bytes_however_the_stream_is_cut_and_the_sdk_reads_the_edited_text(
    endpoint: str, said: list[str], at: list[int], good: str, bad: str
) -> None:
    stream = STREAMS[endpoint](said)
    meter, out = run(endpoint, cut(stream, at), Player(bad, good))
    calm = (PING, COMMENT)
    once = run(endpoint, [stream], Player(bad, good))[1]
    assert [f for f in once.split(b"\n\n") if f + b"\n\n" not in calm] == [
        f for f in out.split(b"\n\n") if f + b"\n\n" not in calm
    ]
    whole = "".join(said)
    wanted = whole.replace(bad, good)
    number = 1 if endpoint == "chat" else 2
    assert sdk_texts(endpoint, out) == [wanted] * number
    assert meter.text() == wanted * number


@ENDPOINTS
def test_an_edited_text_is_nowhere_in_the_stream_as_it_was(endpoint: str) -> None:
    out = run(endpoint, [STREAMS[endpoint](["my SEC", "RET is out", " SECRET"])], Player("SECRET", "***"))[1]
    told = out if endpoint == "responses" else out.replace(b"Hmm, SECRET.", b"")  # thinking is signed, and not shown
    assert b"SECRET" not in told
    assert sdk_texts(endpoint, out)[0] == "my *** is out ***"


@ENDPOINTS
def test_an_untouched_frame_beside_an_edited_one_keeps_its_bytes(endpoint: str) -> None:
    stream = STREAMS[endpoint](["one ", "bad", " three "])
    out = run(endpoint, [stream], Player("bad", "good"))[1]
    for words in ("one ", " three "):
        frame = next(f for f in stream.split(b"\n\n") if f'"{words}"'.encode() in f)
        assert frame in out.split(b"\n\n")


@ENDPOINTS
@pytest.mark.parametrize("behind", [0, 7])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_stopped_stream_shows_what_was_cleared_and_ends_as_its_dialect_ends(
    endpoint: str, behind: int, size: int
) -> None:
    whole = "All of this is fine. CANARY and more that nobody sees"
    said = [whole[at : at + size] for at in range(0, len(whole), size)]
    meter, out = run(endpoint, [STREAMS[endpoint](said)], Player(stop_at="CANARY", behind=behind))
    assert (blocked(meter), meter.ended) == (HIT, True)
    assert b"CANARY" not in out
    assert b"nobody" not in out
    assert meter.text() == "All of this is fine. "
    if endpoint == "messages":
        message = sdk_message(out)
        assert message.stop_reason == "refusal"
        assert message.content[-1].type == "text"
        assert message.content[-1].text == "All of this is fine. "
    elif endpoint == "chat":
        choice = sdk_completion(out).choices[0]
        assert (choice.finish_reason, choice.message.content) == ("content_filter", "All of this is fine. ")
        assert out.endswith(DONE)
    else:
        response = sdk_response(out)
        assert (response.status, response.incomplete_details.reason) == ("incomplete", "content_filter")
        assert response.output[0].content[0].text == "All of this is fine. "


@ENDPOINTS
def test_a_stream_that_is_stopped_at_once_has_shown_nothing_and_is_not_over(endpoint: str) -> None:
    stream = STREAMS[endpoint](["CANARY", " and more"])
    at = stream.index(b"CANARY") + 30 if endpoint != "responses" else stream.index(b"CANARY") + 200
    at = stream.index(b"\n\n", at) + 2
    meter, _ = run(endpoint, [stream[:at]], Player(stop_at="CANARY"))
    assert blocked(meter) == HIT
    assert meter.ended
    assert not meter.over
    assert meter.text() == ""
    assert meter.content_bytes > 0  # what the provider has written is counted all the same
    if endpoint != "messages":  # which has thought before
        assert not meter.started
    assert meter.feed(stream[at:]) == b""
    assert meter.over


@ENDPOINTS
def test_what_waits_at_a_cut_goes_out_when_the_inspector_clears_it_and_no_half_frame_does(endpoint: str) -> None:
    stream = STREAMS[endpoint](["some words ", "that wait", " CUT HERE"])
    at = stream.index(b"CUT HERE")
    meter, out = run(endpoint, [stream[:at]], Player(behind=200))
    assert b"that wait" in out
    assert b" CUT" not in out
    assert not meter.ended
    assert out.endswith(b"\n\n")


@ENDPOINTS
def test_what_an_inspector_never_clears_never_goes_out(endpoint: str) -> None:
    stream = STREAMS[endpoint](["fine ", "SECR", "ET"])

    class Stubborn(Player):
        def text(self, place: str, piece: str, *, final: bool = False):  # type: ignore[no-untyped-def]  # as its base
            seen = super().text(place, piece, final=False)
            return type(seen)(min(seen.cleared, 5), ())

    out = run(endpoint, [stream], Stubborn(behind=0))[1]
    told = out.replace(b"Hmm, SECRET.", b"").replace(b'"token":"SECRET"', b"")
    assert b"SECR" not in told
    assert sdk_texts(endpoint, out)[0] == "fine "


def test_pings_and_comments_overtake_what_waits() -> None:
    said = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "waits"})
    begun = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    player = Player(behind=99)
    gate = gated("messages", ANTHROPIC.meter("messages", Facts()), player)
    assert gate.feed(M_START + begun) == M_START + begun
    assert gate.feed(said) == b""
    assert gate.feed(PING) == PING
    assert gate.feed(COMMENT) == COMMENT
    assert not gate.started
    assert gate.feed(event("content_block_stop", index=0)) == said + event("content_block_stop", index=0)
    assert gate.started


def test_an_error_event_comes_behind_what_was_cleared() -> None:
    error = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    stream = messages(["some ", "words"])
    at = stream.index(b"event: content_block_stop", stream.index(b"words"))
    meter, out = run("messages", [stream[:at] + error], Player(behind=50))
    assert out == stream[:at].replace(PING, b"", 0) + error
    assert meter.error is not None


def test_several_choices_are_watched_each_for_itself() -> None:
    said = ["one SEC", "RET two"]
    player = Player("SECRET", "***")
    out = run("chat", [chat(said, choices=3)], player, choices=3)[1]
    assert sdk_texts("chat", out) == ["one *** two"] * 3
    assert set(player.texts) == {f"choices[{n}].content" for n in range(3)}


def test_a_stop_ends_every_choice_that_has_no_end_yet() -> None:
    stream = (
        chunk({"role": "assistant", "content": "a"}, index=0)
        + chunk({"content": "b"}, "stop", index=1)
        + chunk({"content": "CANARY"}, index=0)
    )
    out = run("chat", [stream], Player(stop_at="CANARY"), choices=2)[1]
    completion = sdk_completion(out)
    assert [choice.finish_reason for choice in completion.choices] == ["content_filter", "stop"]
    assert [choice.message.content for choice in completion.choices] == ["a", "b"]


def test_one_chunk_with_two_choices_is_cut_in_both_where_one_stops() -> None:
    choices = [
        {"index": 0, "delta": {"content": "CANARY"}, "finish_reason": None},
        {"index": 1, "delta": {"content": "unseen"}, "finish_reason": "stop"},
    ]
    frame = b"data: " + json.dumps({"id": "c", "choices": choices}).encode() + b"\n\n"
    out = run("chat", [frame], Player(stop_at="CANARY"), choices=2)[1]
    assert b"unseen" not in out
    assert b"CANARY" not in out


def test_refusals_are_texts_and_logprobs_go_with_an_edited_one() -> None:
    logprobs = {"content": [{"token": "SECRET", "logprob": -1, "bytes": None, "top_logprobs": []}]}
    stream = (
        chunk({"role": "assistant", "content": ""})
        + chunk({"content": "SECRET"}, logprobs=logprobs)
        + chunk({"refusal": "no SECRET"})
        + chunk({}, "stop")
        + DONE
    )
    out = run("chat", [stream], Player("SECRET", "***"))[1]
    assert b"SECRET" not in out
    message = sdk_completion(out).choices[0].message
    assert (message.content, message.refusal) == ("***", "no ***")


def test_a_text_that_only_the_last_event_tells_is_watched_there() -> None:
    tell = Numbered()
    stream = tell("response.created", response=r_response("in_progress")) + tell(
        "response.completed", response=r_response("completed", [r_message(0, "a SECRET b")], usage=R_USAGE)
    )
    out = run("responses", [stream], Player("SECRET", "***"))[1]
    assert sdk_response(out).output_text == "a *** b"
    assert b"SECRET" not in run("responses", [stream], Player(stop_at="SECRET"))[1]


@pytest.mark.parametrize("style", [b"\r\n", b"\r"])
def test_other_line_ends_are_kept_in_an_edited_frame(style: bytes) -> None:
    stream = (M_START + m_text(0, ["a bad one"]) + m_end()).replace(b"\n", style)
    out = run("messages", [stream], Player("bad", "good"))[1]
    assert sdk_texts("messages", out) == ["a good one"]
    assert b"\n\n" not in out.replace(style, b"~")


def test_an_event_too_large_to_be_read_ends_the_stream() -> None:
    head = chat(["fine"]).split(COMMENT)[0]
    huge = chunk({"content": "x" * (9 << 20)})
    meter, out = run("chat", [head, huge[: 5 << 20], huge[5 << 20 :]], Player())
    found = blocked(meter)
    assert found is not None
    assert found.reasons == ("unreadable",)
    assert b"xxx" not in out
    assert out.endswith(DONE)


def test_a_stream_of_responses_is_numbered_and_named_as_it_was() -> None:
    stream = responses(WORDS)
    assert run("responses", [stream], Player("nothing like it"))[1] == stream
