"""Telling people: signed webhooks, Slack, mail; what hangs, what fails, and what a kill leaves to be told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ledger_maker import Maker
from receiver import MailServer, Receiver, unused_port

from headgate.alerting.delivering import Delivery
from headgate.alerting.places import Place, places_of, sample, tried
from headgate.alerting.watching import Alerting
from headgate.build import Built, build
from headgate.core.budget import BudgetAlert, Claim
from headgate.core.errors import BudgetExceeded, Unavailable
from headgate.core.exchange import Ending
from headgate.core.secret import Secret
from headgate.policy.alert_states import Reading
from headgate.settings import load
from headgate.stores import alert_outbox
from headgate.stores.sqlite import SqliteLedger
from headgate.upstream import alert_places
from headgate.upstream.alert_places import Mail, MailTeller, NotTold, WebhookTeller, slack_message, text
from headgate.upstream.signing import signature

SECRET = "alerts-" + "signing-value"
FULL = {"disk_full": {"over": "0.01%", "for": "0s"}}  # every disk is that full: an alert at once


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_outbox, "FIRST_WAIT", 0.05)


def settings_of(folder: Path, *alerts: dict[str, Any], env: dict[str, str] | None = None, **more: Any) -> Any:
    env = {"HEADGATE_STORAGE": f"sqlite:///{folder / 'headgate.db'}", "SECRET": SECRET, **(env or {})}
    return load(env=env, overrides={"alerts": list(alerts), "alert_rules": FULL, **more})


def built(folder: Path, *alerts: dict[str, Any], **more: Any) -> Built:
    return build(settings_of(folder, *alerts, **more), env={"SECRET": SECRET})


def test_a_webhook_gets_a_signed_notice_with_where_to_look_and_what_to_do(tmp_path: Path, receiver: Receiver) -> None:
    made = built(
        tmp_path, {"to": receiver.url, "secret": "env:SECRET"}, server={"public_url": "https://llm.acme.example/"}
    )
    made.alerting.start()
    ((headers, body),) = receiver.wait(1)
    made.close()
    assert (body["type"], body["rule"], body["severity"]) == ("alert.opened", "disk_full", "critical")
    assert (body["evidence_url"], body["runbook"], body["runbook_url"]) == (
        "https://llm.acme.example/ui/checklist",
        "docs/runbooks/disk_full.md",
        "https://llm.acme.example/ui/runbooks/disk_full",
    )
    assert headers["webhook-id"] == body["notice"]
    sent = json.dumps(body).encode()
    expected = signature(Secret(SECRET), headers["webhook-id"], headers["webhook-timestamp"], sent)
    assert headers["webhook-signature"] == expected
    lines = [json.loads(line) for line in (tmp_path / "headgate.db.log.jsonl").read_text().splitlines()]
    assert [(each["event"], each["what"], each["alert"]) for each in lines] == [("alert", "opened", body["id"])]


def until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.usefixtures("quick")
def test_one_that_fails_is_tried_again_with_the_same_id_and_told_once(tmp_path: Path) -> None:
    receiver = Receiver(500, 503)
    made = built(tmp_path, {"to": receiver.url})
    made.alerting.start()
    got = receiver.wait(3)
    until(lambda: made.alerting._delivery.tries["webhook", "told"])  # it hears of its success after the receiver did
    made.log.flush()
    made.close()
    told = {family.name: family.values for family in made.alerting.families()}
    assert told["headgate_alert_deliveries"] == {
        ("webhook", "told"): 1,
        ("webhook", "failed"): 2,
        ("webhook", "given_up"): 0,
    }
    assert told["headgate_alerts"]["disk_full", "firing"] == 1
    receiver.close()
    assert len({headers["webhook-id"] for headers, _ in got}) == 1
    log = (tmp_path / "headgate.db.log.jsonl").read_text()
    assert log.count('"alert_untold"') == 1
    assert receiver.url not in log


@pytest.mark.usefixtures("quick")
def test_one_that_hangs_times_out_and_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_places, "SECONDS", 0.3)
    stuck, fine = Receiver("hang", "hang"), Receiver()
    made = built(tmp_path, {"to": stuck.url}, {"to": fine.url})
    made.alerting.start()
    fine.wait(1)
    got = stuck.wait(3)
    made.close()
    assert len({headers["webhook-id"] for headers, _ in got}) == 1
    for each in (stuck, fine):
        each.close()


KILLED = """
import sys, time
from headgate.build import build
from headgate.settings import load
settings = load(env={"HEADGATE_STORAGE": sys.argv[1]}, overrides={
    "alerts": [{"to": sys.argv[2]}], "alert_rules": {"disk_full": {"over": "0.01%", "for": "0s"}}})
made = build(settings, env={})
made.alerting.start()
time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="nobody is killed like that here")
def test_what_a_killed_process_was_telling_is_told_by_the_next_with_the_same_id(tmp_path: Path) -> None:
    receiver = Receiver("hang")
    storage = f"sqlite:///{tmp_path / 'headgate.db'}"
    process = subprocess.Popen([sys.executable, "-c", KILLED, storage, receiver.url], env=dict(os.environ))
    ((first, _),) = receiver.wait(1, 60.0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    made = built(tmp_path, {"to": receiver.url})
    made.alerting.start()
    _, (second, body) = receiver.wait(2)
    made.close()
    receiver.close()
    assert first["webhook-id"] == second["webhook-id"]
    assert body["type"] == "alert.opened"


def test_what_cannot_be_put_on_record_is_told_all_the_same_and_recorded_once_it_can_be(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = built(tmp_path, {"to": receiver.url})
    made.ledger.open()
    call, down = SqliteLedger.call, True

    def broken(self: SqliteLedger, work: Callable[[Any], Any]) -> Any:
        if down:
            raise Unavailable("the disk is full")
        return call(self, work)

    monkeypatch.setattr(SqliteLedger, "call", broken)
    alerting = quietly(made, monkeypatch)
    (opened,) = alerting.look()
    receiver.wait(1)
    down = False
    assert alerting.look() == []
    assert [each.rule for each in alerting.board.active()] == ["disk_full"]
    assert opened.what == "opened"
    made.close()
    assert len(receiver.got) == 1  # recorded, and not told a second time


def quietly(made: Built, monkeypatch: pytest.MonkeyPatch) -> Alerting:
    """Nobody looks but the test."""
    monkeypatch.setattr(Alerting, "_run", lambda self: self._delivery.start())
    made.alerting.start()
    assert made.alerting._thread is not None
    made.alerting._thread.join()
    return made.alerting


@pytest.fixture
def outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Alerting, dict[str, Any]]]:
    """Alerts of which a test says what is read, when, and whether the ledger can be written."""
    made = build(settings_of(tmp_path, alert_rules={"log_dropped": {"for": "0s"}}), env={})
    made.ledger.open()
    world: dict[str, Any] = {"now": made.engine.ports.clock.now(), "down": False, "value": 0.0}
    call = SqliteLedger.call

    def broken(self: SqliteLedger, work: Callable[[Any], Any]) -> Any:
        if world["down"]:
            raise Unavailable("the disk is full")
        return call(self, work)

    monkeypatch.setattr(SqliteLedger, "call", broken)
    alerting = quietly(made, monkeypatch)
    monkeypatch.setattr(alerting, "_now", lambda: world["now"])
    monkeypatch.setattr(alerting, "_readings", lambda now: iter([Reading("log_dropped", "", world["value"])]))
    yield alerting, world
    made.close()


def test_an_alert_that_outlives_an_outage_of_the_ledger_is_neither_ended_nor_opened_again(
    outage: tuple[Alerting, dict[str, Any]],
) -> None:
    alerting, world = outage
    world["value"] = 1.0
    (opened,) = alerting.look()
    world["down"] = True
    for _ in range(40):
        world["now"] += 10
        assert alerting.look() == []
    world["down"] = False
    for _ in range(20):
        world["now"] += 5
        assert alerting.look() == []
    assert [each.id for each in alerting.board.active()] == [opened.alert.id]


def test_an_alert_is_told_and_recorded_under_one_id_whether_it_begins_or_ends_in_an_outage(
    outage: tuple[Alerting, dict[str, Any]],
) -> None:
    alerting, world = outage
    ids: dict[str, list[str]] = {"opened": [], "resolved": []}

    def look(seconds: float, **more: Any) -> None:
        world.update(more, now=world["now"] + seconds)
        for what, alert in alerting.look():
            ids[what].append(alert.id)

    look(0, down=True, value=1.0)
    look(10, down=False)
    look(70, value=0.0)
    look(130)  # begun in the outage, ended after it
    look(10, value=1.0)
    look(10, down=True, value=0.0)
    look(130)  # begun before it, ended in it
    look(10, down=False)
    look(10, down=True, value=1.0)
    look(130, value=0.0)
    look(130)  # begun and ended in it, and once more
    look(10, value=1.0)
    look(130, value=0.0)
    look(130)
    look(10, down=False)
    assert len(set(ids["opened"])) == 4
    assert ids["opened"] == ids["resolved"]
    assert {each.id for each in alerting.board.history()} == set(ids["opened"])
    assert alerting.board.active() == ()


def test_budgets_anomalies_and_cut_answers_become_alerts_without_the_names_of_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budgets = [{"per": "user", "usd": 1}, {"per": "tenant", "usd": 1}]
    made = build(
        load(env={"HEADGATE_STORAGE": f"sqlite:///{tmp_path / 'headgate.db'}"}, overrides={"budgets": budgets}), env={}
    )
    alerting = quietly(made, monkeypatch)
    by = {each.per: each for each in made.engine.policies.budgets.all}
    by_user, by_tenant = by["user",], by["tenant",]
    end = time.time() + 3_600
    for scope in ("ada-canary", "bob-canary"):
        claim = Claim(by_user, scope, 0.0, end, (by_user.id, scope, 0.0))
        alerting._budgets.reached(BudgetAlert(claim, 8_000, "usd", 1, 1))
    claim = Claim(by_tenant, "acme", 0.0, end, (by_tenant.id, "acme", 0.0))
    alerting._budgets.reached(BudgetAlert(claim, 10_000, "usd", 1, 1))
    made.log.event(
        "anomaly", kind="daily_spend", message="the tenant has spent 9 USD today", tenant="acme", user_id="x"
    )
    made.log.event("often_truncated", task="summarise", calls=50, truncated=40)
    made.log.flush()
    alerting.look()
    found = {each.rule: each for each in alerting.board.active()}
    made.close()
    assert {"budget_near", "budget_spent", "cost_trend", "truncated"} <= set(found)
    assert found["budget_near"].count == 2
    assert "canary" not in repr(found)
    assert found["budget_spent"].summary == f"the budget {by_tenant.id} (acme) has passed 100% of its cap"
    assert found["budget_spent"].evidence.startswith("/ui/keys?budget=")
    assert "40 of 50 answers of task summarise" in found["truncated"].summary


def test_every_tenants_budget_and_every_share_of_it_is_told_by_itself_and_so_is_one_that_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budgets = [{"per": "tenant", "usd": 1, "alert_at": ["80%", "95%"]}]
    made = build(
        load(env={"HEADGATE_STORAGE": f"sqlite:///{tmp_path / 'headgate.db'}"}, overrides={"budgets": budgets}), env={}
    )
    alerting = quietly(made, monkeypatch)
    (budget,) = made.engine.policies.budgets.all
    end = time.time() + 3_600
    acme, beta, gamma = (Claim(budget, name, 0.0, end, (budget.id, name, 0.0)) for name in ("acme", "beta", "gamma"))
    for claim, share in ((acme, 8_000), (acme, 9_500), (beta, 8_000)):
        alerting._budgets.reached(BudgetAlert(claim, share, "usd", 1, 1))
    for claim, why, room in ((gamma, "spent", 10**8), (beta, "spent", 9 * 10**8), (acme, "too_large", 0)):
        call = Maker().exchange()
        call.ending, call.error = Ending.REFUSED, BudgetExceeded("no", claim=claim, why=why, room_nano=room)
        made.log.write(call)
    made.log.flush()
    alerting.look()
    found = {(each.rule, each.scope): each.summary for each in alerting.board.active() if "budget" in each.rule}
    made.close()
    assert found == {
        ("budget_near", f"{budget.id} acme"): f"the budget {budget.id} (acme) has passed 80% of its cap",
        ("budget_near", f"{budget.id} acme 95%"): f"the budget {budget.id} (acme) has passed 95% of its cap",
        ("budget_near", f"{budget.id} acme refusals"): (
            f"the budget {budget.id} (acme) refuses calls that can cost more than all of it"
        ),
        ("budget_near", f"{budget.id} beta"): f"the budget {budget.id} (beta) has passed 80% of its cap",
        ("budget_near", f"{budget.id} beta refusals"): (
            f"the budget {budget.id} (beta) refuses calls that can cost more than is left of it"
        ),
        ("budget_spent", f"{budget.id} gamma"): (
            f"the budget {budget.id} (gamma) refuses calls: what is left has no room for them"
        ),
    }


def test_breakers_queues_stores_and_models_that_retire_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides: dict[str, Any] = {"models": {"old": ["anthropic/claude-3-opus-20240229"]}, "alert_rules": {}}
    made = build(load(env={"HEADGATE_STORAGE": f"sqlite:///{tmp_path / 'headgate.db'}"}, overrides=overrides), env={})
    alerting = quietly(made, monkeypatch)
    seen: dict[tuple[str, str], Reading] = {
        (each.rule, each.scope): each for each in alerting._readings(alerting._now())
    }
    retired = seen["model_retires", "anthropic/claude-3-opus-20240229"]
    assert (retired.critical, "was retired on" in retired.summary) == (True, True)
    assert {("store_down", "ledger"), ("store_down", "log"), ("store_down", "shared store")} <= set(seen)
    assert ("queue_growing", "money") in seen
    for ok, behind, down in ((True, 4.0, 0.0), (True, 300.0, 1.0), (False, 0.0, 1.0)):
        monkeypatch.setattr(made.logs, "health", lambda ok=ok, behind=behind: {"ok": ok, "lag_seconds": behind})
        found = {each.scope: each for each in alerting._standing._stores(alerting._now()) if each.rule == "store_down"}
        assert found["log store"].value == down
    alerting._standing._queues["money"].appendleft((alerting._now() - 60, 500))
    (grown,) = [each for each in alerting._standing._queue("money", 600, alerting._now()) if each.value]
    assert grown.value == 600
    assert [each.value for each in alerting._standing._queue("money", 400, alerting._now())] == [0.0]
    made.close()


def test_in_process_alerts_begin_with_the_first_call_and_only_where_somebody_is_told(tmp_path: Path) -> None:
    nobody = built(tmp_path)
    somebody = built(tmp_path, {"to": "log"})
    assert (len(nobody.log.watchers), nobody.alerting._thread) == (1, None)
    assert (len(somebody.log.watchers), somebody.alerting._thread) == (2, None)
    for each in (nobody, somebody):
        each.close()


def test_slack_gets_a_text_in_which_no_name_can_mention_a_channel(receiver: Receiver) -> None:
    body = {"type": "alert.opened", "alert": "al_1", "rule": "truncated", "scope": "<!channel>", "runbook": "docs/x.md"}
    body |= {"summary": "a & b\n<https://evil.example|click>", "evidence_url": "https://llm.acme.example/ui/spend"}
    WebhookTeller(lambda: receiver.url, None, slack=True).tell("nt_1", body, 0.0)
    ((_, told),) = receiver.wait(1)
    assert set(told) == {"text"}
    assert "&lt;!channel&gt;" in told["text"]
    assert "a &amp; b?&lt;https" in told["text"]
    assert "<https://llm.acme.example/ui/spend|evidence>" in told["text"]
    assert "runbook: docs/x.md" in told["text"]  # where the gateway's own address is not known
    found = {
        **body,
        "severity": "warning",
        "since": 0.0,
        "runbook_url": "https://llm.acme.example/ui/runbooks/truncated",
    }
    assert "<https://llm.acme.example/ui/runbooks/truncated|runbook>" in slack_message(found)["text"]
    assert "runbook   https://llm.acme.example/ui/runbooks/truncated\n" in text(found)


def test_redirects_are_not_followed_and_errors_tell_no_address(receiver: Receiver) -> None:
    receiver.answers.append(302)
    with pytest.raises(NotTold, match="answered 302"):
        WebhookTeller(lambda: receiver.url, None).tell("nt_1", {"alert": "al_1"}, 0.0)
    port = unused_port()
    with pytest.raises(NotTold) as raised:
        WebhookTeller(lambda: f"http://127.0.0.1:{port}/secret-path", None).tell("nt_1", {"alert": "al_1"}, 0.0)
    assert str(raised.value) == "ConnectError"


def test_mail_is_plain_text_and_one_thread_per_alert(tmp_path: Path) -> None:
    server = MailServer()
    smtp = {"host": "127.0.0.1", "port": server.port, "tls": "off", "from": "headgate@acme.example"}
    (place,) = places_of(settings_of(tmp_path, {"to": "mailto:ops@acme.example", "smtp": smtp}), {})
    found = tried(place, "nt_1", 1_800_000_000.0)
    server.close()
    assert (found["told"], found["place"]) == (True, "email ops@acme.example")
    (mail,) = server.mails
    assert "Subject: [Headgate] Test: test" in mail
    assert "Message-ID: <nt_1@headgate>" in mail
    assert "References: <al_test@headgate>" in mail
    assert "MAIL FROM:<headgate@acme.example>" in [
        line.replace("mail FROM", "MAIL FROM").split(" size")[0] for line in server.said
    ]


def test_a_mail_server_that_says_no_or_has_no_tls_is_said_in_a_few_words(tmp_path: Path) -> None:
    server = MailServer(refuses=True)
    smtp = {"host": "127.0.0.1", "port": server.port, "from": "headgate@acme.example"}
    for tls, said in (("off", "SMTPRecipientsRefused"), ("starttls", "SMTPNotSupportedError"), ("tls", "SSLError")):
        (place,) = places_of(settings_of(tmp_path, {"to": "mailto:ops@acme.example", "smtp": {**smtp, "tls": tls}}), {})
        assert tried(place, "nt_1", 0.0)["error"] == said
    server.close()


def test_a_place_that_answers_byte_by_byte_ends_no_later_than_one_that_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alert_places, "SECONDS", 0.3)
    hook, mail = Receiver("drip"), MailServer(drips=True)
    for place in (
        WebhookTeller(lambda: hook.url, None),
        MailTeller(Mail("127.0.0.1", mail.port, "off", "headgate@acme.example", "ops@acme.example")),
    ):
        with pytest.raises(NotTold, match=r"^TimeoutError$"):
            place.tell("nt_1", sample(0.0), 0.0)
    hook.close()
    mail.close()


def test_a_mail_password_that_smtp_cannot_carry_is_a_failed_try_in_words() -> None:
    server = MailServer()
    to, password = "ops@acme.example", Secret("p\u00e4ss")
    mail = Mail("127.0.0.1", server.port, "off", "headgate@acme.example", to, "headgate", lambda: password)
    with pytest.raises(NotTold, match="is not ASCII"):
        MailTeller(mail).tell("nt_1", sample(0.0), 0.0)
    server.close()


class Wrong:
    def tell(self, *_: Any) -> None:
        raise ZeroDivisionError


def test_a_mistake_of_ours_in_telling_is_a_failed_try_and_holds_up_no_other_notice(tmp_path: Path) -> None:
    ledger, told = SqliteLedger(f"sqlite:///{tmp_path / 'headgate.db'}"), []
    place = Place("p", "webhook p", "warning", Wrong())
    delivery = Delivery(ledger, [place], now=lambda: 0.0, tell=lambda name, **_: told.append(name))
    for number in range(2):
        body = {"alert": f"al_{number}", "type": "alert.opened"}
        ledger.call(lambda sql, body=body: alert_outbox.enqueue(sql, body, ["p"], 0.0))
    assert [delivery._turn("p") for _ in range(3)] == [0.0, 0.0, alert_outbox.FIRST_WAIT]
    ledger.close()
    assert told == ["alerts_failed", "alert_untold"] * 2
    assert delivery.tries["webhook", "failed"] == 2
    assert tried(place, "nt_1", 0.0)["error"] == "ZeroDivisionError"


def test_a_place_whose_secret_cannot_be_read_is_not_told_and_says_so(tmp_path: Path, receiver: Receiver) -> None:
    settings = settings_of(tmp_path, {"to": receiver.url, "secret": "env:GONE"}, {"to": "env:GONE_TOO"})
    errors = [tried(place, "nt_1", 0.0)["error"] for place in places_of(settings, {})]
    assert errors == ["its URL or its secret cannot be read (config_error)"] * 2
