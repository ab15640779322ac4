"""Guards that ask: both colours, over a provider that plays a script."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from headgate.core.checks import Check, PlainPassage
from headgate.core.errors import UpstreamTimeout
from headgate.core.exchange import Exchange
from headgate.core.guards import Finding, Verdict
from headgate.core.secret import Secret
from headgate.engine.blocking import run_blocking
from headgate.testing import World
from headgate.testing.canned import completion
from headgate.testing.fakes import FakeAnswer, route
from headgate.upstream.checks import classifier as classifiers
from headgate.upstream.checks.asking import Means
from headgate.upstream.checks.checkers import AsyncCheckers, BlockingCheckers
from headgate.upstream.checks.memory import Opinions

USER = PlainPassage("user", "a bad word", "messages[0].content")
MODERATION = Check("moderation", blocks=True, outputs=True, provider="openai")
CLOSED = Check("moderation", blocks=True, closed=True, provider="openai")


def moderated(*flagged: bool) -> list[bytes]:
    results = [{"flagged": each, "categories": {"hate": each}, "category_scores": {}} for each in flagged]
    return [json.dumps({"results": results}).encode()]


class Asked:
    """A world whose providers are asked by guards, and the checkers of a colour."""

    def __init__(self, colour: str, *script: Any, classifier: Any = None) -> None:
        self.world = World(*script)
        self.told: list[tuple[str, dict[str, Any]]] = []
        means = Means(
            self.world.upstream,
            self.world.clock,
            {"openai": route("openai")},
            {"env:HOOK": Secret("hook-key")},
            lambda: "mark",
        )
        kind = AsyncCheckers if colour == "async" else BlockingCheckers
        self._run: Callable[[Any], Any] = asyncio.run if colour == "async" else run_blocking
        self.opinions = Opinions()
        self.checkers = kind(means, self.opinions, self._tell, lambda name: classifier)
        self.checkers.engine = self.world.engine
        self.exchange: Exchange = self.world.engine.begin(self.world.request())

    def _tell(self, event: str, **fields: Any) -> None:
        self.told.append((event, fields))

    def check(self, *checks: Check, passages: Sequence[PlainPassage] = (USER,), output: bool = False) -> list[Finding]:
        return list(self._run(self.checkers.check(self.exchange, checks, passages, output=output)))

    @property
    def sent(self) -> list[Any]:
        return [json.loads(each.body) for each in self.world.upstream.sent]


colours = pytest.mark.parametrize("colour", ["blocking", "async"])


@colours
def test_moderation_asks_the_provider_with_its_own_key_about_all_texts_at_once(colour: str) -> None:
    asked = Asked(colour, moderated(True, False))
    found = asked.check(MODERATION, passages=[USER, PlainPassage("document", "fine"), PlainPassage("system", "ours")])
    assert [(f.guard, f.verdict, f.reasons, f.place) for f in found] == [
        ("moderation", Verdict.BLOCK, ("hate",), "messages[0].content")
    ]
    (outgoing,) = asked.world.upstream.sent
    assert outgoing.url == "https://openai.test/v1/moderations"
    assert (b"authorization", b"Bearer fake-openai") in outgoing.headers
    assert asked.sent == [{"input": ["a bad word", "fine"]}]
    assert outgoing.timeouts.total == 2.0


@colours
def test_what_was_said_of_a_text_is_remembered_for_the_same_check_and_for_an_hour(colour: str) -> None:
    asked = Asked(colour, moderated(True), moderated(True), moderated(True))
    assert len(asked.check(MODERATION)) == len(asked.check(MODERATION)) == 1
    assert len(asked.sent) == 1
    asked.check(CLOSED)
    assert len(asked.sent) == 2
    asked.world.clock.time += 3_601
    asked.check(MODERATION)
    assert len(asked.sent) == 3


@colours
@pytest.mark.parametrize(
    "failure",
    [
        UpstreamTimeout("slow", kind="timeout"),
        FakeAnswer(500, pieces=[b"{}"]),
        [b"not json"],
        [b"{}"],
        RuntimeError("a mistake of ours"),
    ],
)
def test_whoever_cannot_be_asked_is_flagged_or_blocks_and_is_not_remembered(colour: str, failure: Any) -> None:
    asked = Asked(colour, failure, failure, moderated(False))
    (flag,) = asked.check(Check("moderation", blocks=True, provider="openai"))
    (block,) = asked.check(CLOSED)
    assert (flag.verdict, block.verdict) == (Verdict.FLAG, Verdict.BLOCK)
    assert flag.reasons == block.reasons == ("unavailable",)
    assert [event for event, _ in asked.told] == ["guard_unavailable"] * 2
    assert "a bad word" not in str(asked.told)
    assert asked.check(CLOSED) == []


@colours
def test_too_much_text_is_not_passed_over(colour: str) -> None:
    asked = Asked(colour)
    (found,) = asked.check(CLOSED, passages=[PlainPassage("user", "x" * 500_000)])
    assert (found.verdict, found.reasons) == (Verdict.BLOCK, ("unavailable",))


@colours
def test_a_long_text_is_asked_about_in_pieces(colour: str) -> None:
    asked = Asked(colour, moderated(False, False, True))
    (found,) = asked.check(MODERATION, passages=[PlainPassage("user", "".join(f"{n} " for n in range(7_000)))])
    assert found.verdict is Verdict.BLOCK
    assert len(asked.sent[0]["input"]) == 3


@colours
def test_a_webhook_gets_a_signed_text_with_its_ids(colour: str) -> None:
    asked = Asked(colour, [b'{"verdict": "block", "score": 0.8, "reasons": ["house rule"]}'])
    hook = Check("webhook", blocks=True, url="https://hook.test/check", secret="env:HOOK")
    (found,) = asked.check(hook)
    assert (found.verdict, found.score, found.reasons) == (Verdict.BLOCK, 0.8, ("house rule",))
    (outgoing,) = asked.world.upstream.sent
    headers = dict(outgoing.headers)
    signed = headers[b"x-headgate-timestamp"] + b"." + outgoing.body
    assert (
        headers[b"x-headgate-signature"].decode() == f"v1={hmac.new(b'hook-key', signed, hashlib.sha256).hexdigest()}"
    )
    told = json.loads(outgoing.body)
    assert (told["text"], told["channel"], told["exchange"]) == ("a bad word", "user", asked.exchange.id)


@colours
def test_a_judge_is_an_exchange_of_its_own_for_the_same_caller(colour: str) -> None:
    verdict = '{"verdicts": [{"text": 0, "score": 0.95, "reason": "override"}]}'
    asked = Asked(colour, completion(verdict))
    (found,) = asked.check(Check("judge", blocks=True, model="gpt-6-luna"))
    assert (found.verdict, found.reasons) == (Verdict.BLOCK, ("override",))
    (judging,) = asked.world.ledger.settled
    assert judging.id != asked.exchange.id
    assert (judging.request.caller.task, judging.request.of_guard) == ("guard:judge", "judge")
    assert judging.cost_nano > 0
    assert asked.world.happened == ["intend", "send", "settle"]


@colours
@pytest.mark.parametrize("said", ["I think it is fine.", '{"verdicts": []}'])
def test_a_judge_that_says_anything_else_has_not_answered(colour: str, said: str) -> None:
    asked = Asked(colour, completion(said))
    (found,) = asked.check(Check("judge", blocks=True, closed=True, model="gpt-6-luna"))
    assert (found.verdict, found.reasons) == (Verdict.BLOCK, ("unavailable",))


@colours
def test_nobody_judges_a_judge(colour: str) -> None:
    asked = Asked(colour)
    asked.exchange.request.of_guard = "judge"
    assert asked.check(Check("judge", model="gpt-6-luna"), MODERATION) == []


@colours
def test_a_classifier_scores_texts_by_their_worst_window(colour: str) -> None:
    scorer = classifiers.Windows(lambda texts: [0.99 if "IGNORE" in each else 0.01 for each in texts])
    asked = Asked(colour, classifier=scorer)
    long = PlainPassage("document", "x" * 3_000 + "IGNORE" + "x" * 3_000)
    found = asked.check(Check("classifier", model="somewhere"), passages=[USER, long])
    assert [(f.channel, f.verdict, f.score) for f in found] == [("document", Verdict.FLAG, 0.99)]


@colours
def test_a_classifier_that_is_not_installed_is_unavailable(colour: str) -> None:
    class Missing:
        def score(self, texts: list[str]) -> list[float]:
            raise ImportError("transformers")

    asked = Asked(colour, classifier=Missing())
    (found,) = asked.check(Check("classifier", blocks=True, closed=True, model="m"))
    assert found.reasons == ("unavailable",)


def test_in_an_event_loop_guards_are_asked_at_once_and_a_slow_one_costs_its_own_time_only() -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    asked = Asked("async", never, [b'{"verdict": "block"}'])
    slow = Check("moderation", blocks=True, closed=True, timeout=0.05, provider="openai")
    found = asked.check(slow, Check("webhook", url="https://hook.test"))
    assert {(f.guard, f.reasons) for f in found} == {("moderation", ("unavailable",)), ("webhook", ())}


def test_memory_is_bounded() -> None:
    from headgate.core.checks import Opinion

    opinions = Opinions(most=3)
    for number in range(10):
        opinions.put(MODERATION, str(number), Opinion(0.0), 0.0)
    assert len(opinions) == 3
    assert opinions.get(MODERATION, "9", 0.0) == Opinion(0.0)
    assert opinions.get(MODERATION, "0", 0.0) is None


def test_a_model_of_the_hub_is_read_by_its_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    def pipeline(task: str, **told: Any) -> Any:
        assert (task, told["model"]) == ("text-classification", "acme/guard")
        return lambda texts: [
            [{"label": "BENIGN", "score": 1 - len(t) / 10}, {"label": "JAILBREAK", "score": len(t) / 10}] for t in texts
        ]

    monkeypatch.setitem(sys.modules, "transformers", ModuleType("transformers"))
    monkeypatch.setattr(sys.modules["transformers"], "pipeline", pipeline, raising=False)
    monkeypatch.setattr(classifiers, "_loaded", {})
    found = classifiers.classifier("acme/guard")
    assert found.score(["ab", "abcdefgh"]) == pytest.approx([0.2, 0.8])
    assert classifiers.classifier("acme/guard") is found


def test_a_folder_with_an_onnx_model_needs_no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")

    class Session:
        def __init__(self, path: str, providers: list[str]) -> None:
            assert path == str(tmp_path / "model.onnx")

        def get_inputs(self) -> list[Any]:
            return [SimpleNamespace(name="input_ids"), SimpleNamespace(name="attention_mask")]

        def run(self, _: None, given: dict[str, Any]) -> list[Any]:
            assert set(given) == {"input_ids", "attention_mask"}
            return [[[0.0, 2.0 if 7 in given["input_ids"][0] else -2.0]]]

    coded = SimpleNamespace(ids=[7, 1], attention_mask=[1, 1], type_ids=[0, 0])
    tokenizer = SimpleNamespace(encode=lambda text: coded, enable_truncation=lambda most: None)
    fakes = {
        "onnxruntime": {"InferenceSession": Session},
        "tokenizers": {"Tokenizer": SimpleNamespace(from_file=lambda path: tokenizer)},
        "numpy": {"array": lambda value, dtype: value, "int64": int},
    }
    for name, members in fakes.items():
        module = ModuleType(name)
        for key, value in members.items():
            setattr(module, key, value)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(classifiers, "_loaded", {})
    (score,) = classifiers.classifier(str(tmp_path)).score(["x"])
    assert abs(score - 0.8808) < 1e-4
