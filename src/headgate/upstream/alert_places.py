"""Telling one place of an alert: a webhook, Slack or what speaks as it does, a mailbox.

A try takes some seconds at most, whatever the other side does. Redirects are not followed: they would take the notice
along. What comes back is not read but for its status.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from headgate.core.errors import HeadgateError
from headgate.core.secret import Secret
from headgate.core.text import printable
from headgate.upstream.signing import signed

if TYPE_CHECKING:
    from email.message import EmailMessage

SECONDS = 10.0
_PATH = "alerts.secret"


class NotTold(Exception):
    """It could not be told; `str(error)` is why, in a few words without an address or a credential."""


class Teller(Protocol):
    """A place."""

    def tell(self, notice_id: str, body: Mapping[str, Any], now: float) -> None:
        """Tell it once. `notice_id` is the same at each try.

        Raises:
            NotTold: that did not work.
        """
        ...


class WebhookTeller:
    """POSTs the notice as JSON, signed where there is a secret; or as a Slack message."""

    def __init__(self, url: Callable[[], str], secret: Callable[[], Secret] | None, *, slack: bool = False) -> None:
        """Args: `url`, `secret`: asked for at each try."""
        self._url = url
        self._secret = secret
        self._slack = slack

    def tell(self, notice_id: str, body: Mapping[str, Any], now: float) -> None:
        """See the protocol."""
        import httpx2

        content = json.dumps(slack_message(body) if self._slack else {"notice": notice_id, **body}).encode()
        try:
            url = self._url()
            headers = {"content-type": "application/json", "webhook-id": notice_id}
            if self._secret is not None:
                headers = signed(self._secret(), notice_id, now, content, path=_PATH)
        except HeadgateError as error:
            raise NotTold(f"its URL or its secret cannot be read ({error.code})") from None
        try:
            status = asyncio.run(_posted(url, content, headers))
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise NotTold(type(error).__name__) from None
        if status >= 300:
            raise NotTold(f"answered {status}")


async def _posted(url: str, content: bytes, headers: Mapping[str, str]) -> int:
    """The status. Why a loop of its own: a time-out of httpx2 is for each read, and who answers byte by byte never
    meets it."""
    import httpx2

    async with (
        asyncio.timeout(SECONDS),
        httpx2.AsyncClient(timeout=SECONDS) as client,
        client.stream("POST", url, content=content, headers=dict(headers)) as answer,
    ):
        return answer.status_code


@dataclass(frozen=True, slots=True)
class Mail:
    """How mail is sent: see `settings.alerts.SmtpSettings`."""

    host: str
    port: int
    tls: str
    sender: str
    to: str
    username: str = ""
    password: Callable[[], Secret] | None = None


class MailTeller:
    """Sends a mail of plain text. Those of one alert are one thread in a mailbox."""

    def __init__(self, mail: Mail) -> None:
        self._mail = mail

    def tell(self, notice_id: str, body: Mapping[str, Any], now: float) -> None:
        """See the protocol."""
        from email.message import EmailMessage
        from email.utils import formatdate

        mail = self._mail
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = mail.sender, mail.to, subject(body)
        message["Date"] = formatdate(now)
        message["Message-ID"] = f"<{notice_id}@headgate>"
        thread = f"<{body.get('alert', notice_id)}@headgate>"
        message["References"] = message["In-Reply-To"] = thread
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text(body))
        self._send(message)

    def _send(self, message: EmailMessage) -> None:
        import smtplib

        from headgate.upstream.mailing import Patience, session

        mail, context = self._mail, ssl.create_default_context()
        with Patience(SECONDS) as patience:
            try:
                over_tls = context if mail.tls == "tls" else None
                with session(mail.host, mail.port, SECONDS, patience, over_tls=over_tls) as server:
                    if mail.tls == "starttls":
                        server.starttls(context=context)
                    if mail.username and mail.password is not None:
                        server.login(mail.username, mail.password().reveal())
                    server.send_message(message)
            except HeadgateError as error:
                raise NotTold(f"its password cannot be read ({error.code})") from None
            except UnicodeError:
                raise NotTold(
                    "its user name or password is not ASCII, which is all that SMTP can log in with"
                ) from None
            except (OSError, smtplib.SMTPException) as error:
                raise NotTold("TimeoutError" if patience.over else _words_of(error)) from None


def _words_of(error: Exception) -> str:
    """What a server says may hold the address: its number will do."""
    number = getattr(error, "smtp_code", None)
    return type(error).__name__ if number is None else f"{type(error).__name__} {number}"


_WORDS = {"opened": "Alert", "reminder": "Still firing", "resolved": "Resolved", "test": "Test"}


def subject(body: Mapping[str, Any]) -> str:
    """One line: what has happened."""
    word = _WORDS.get(str(body["type"]).removeprefix("alert."), "Alert")
    scope = f" ({_one_line(body['scope'])})" if body.get("scope") else ""
    return f"[Headgate] {word}: {body['rule']}{scope}"


def text(body: Mapping[str, Any]) -> str:
    """All of it, in plain text."""
    lines = [_one_line(body["summary"]), ""]
    lines.append(f"{'severity':<10}{body['severity']}")
    lines.append(f"{'since':<10}{_moment(body['since'])}")
    if body.get("resolved"):
        lines.append(f"{'resolved':<10}{_moment(body['resolved'])}")
    if body.get("evidence_url"):
        lines.append(f"{'evidence':<10}{body['evidence_url']}")
    lines += [f"{'runbook':<10}{body.get('runbook_url') or body['runbook']}", f"{'alert':<10}{body['alert']}"]
    return "\n".join(lines) + "\n"


def slack_message(body: Mapping[str, Any]) -> dict[str, Any]:
    """As Slack's incoming webhooks take it, and what speaks as they do.

    Their three control characters are escaped (https://api.slack.com/reference/surfaces/formatting), so that no name
    in it can mention a channel or make a link.
    """
    said = f"*{_escaped(subject(body))}*\n{_escaped(_one_line(body['summary']))}"
    if body.get("evidence_url"):
        said += f"\n<{body['evidence_url']}|evidence>"
    if body.get("runbook_url"):
        return {"text": f"{said}\n<{body['runbook_url']}|runbook>"}
    return {"text": f"{said}\nrunbook: {body['runbook']}"}


def _escaped(said: str) -> str:
    return said.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _one_line(said: object) -> str:
    return printable(str(said))


def _moment(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(when))
