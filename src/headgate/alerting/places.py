"""The places of the configuration, as what tells them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from headgate.core.secret import Secret
from headgate.settings.alerts import LOG, AlertSettings
from headgate.settings.model import Settings
from headgate.settings.secrets import SecretRef
from headgate.upstream.alert_places import Mail, MailTeller, NotTold, Teller, WebhookTeller


class Place(NamedTuple):
    """One that is told. `key` is the same in every process; `name` is for people; `least` is a severity."""

    key: str
    name: str
    least: str
    teller: Teller

    @property
    def kind(self) -> str:
        """webhook, slack, email: what its name begins with."""
        return self.name.partition(" ")[0]


def places_of(settings: Settings, env: Mapping[str, str]) -> list[Place]:
    """All but the log, which has every alert anyhow. Secrets are read at each try.

    Args:
        env: where `env:` references are read.
    """
    return [Place(each.key, each.name, each.severity, _teller(each, env)) for each in settings.alerts if _sent(each)]


def _sent(each: AlertSettings) -> bool:
    return each.kind != LOG


def _teller(place: AlertSettings, env: Mapping[str, str]) -> Teller:
    if place.kind == "email":
        smtp = place.smtp
        assert smtp is not None  # settings have seen to it
        assert isinstance(place.to, str)
        to = place.to.removeprefix("mailto:")
        password = _secret(smtp.password, env)
        return MailTeller(Mail(smtp.host, smtp.port, smtp.tls, smtp.sender, to, smtp.username, password))
    return WebhookTeller(partial(_url, place.to, env), _secret(place.secret, env), slack=place.kind == "slack")


def _secret(reference: SecretRef | None, env: Mapping[str, str]) -> Callable[[], Secret] | None:
    return None if reference is None else partial(reference.resolve, env)


def _url(to: SecretRef | str, env: Mapping[str, str]) -> str:
    return to if isinstance(to, str) else to.resolve(env).reveal()


def sample(now: float) -> dict[str, Any]:
    """What `headgate alerts test` sends."""
    return {
        "type": "alert.test",
        "alert": "al_test",
        "at": now,
        "rule": "test",
        "scope": "",
        "severity": "warning",
        "since": now,
        "state": "firing",
        "summary": "This is a test: alerts of Headgate arrive here.",
        "runbook": "docs/alerts.md",
        "evidence_url": None,
    }


def tried(place: Place, notice_id: str, now: float) -> dict[str, Any]:
    """Tell one place a test, now, and say what came of it."""
    began = time.monotonic()
    try:
        place.teller.tell(notice_id, sample(now), now)
    except NotTold as error:
        said = str(error)
    except Exception as error:  # a mistake of ours, or of a library: whoever tests a place is to see it
        said = type(error).__name__
    else:
        said = ""
    return {"place": place.name, "told": not said, "error": said or None, "seconds": round(time.monotonic() - began, 3)}
