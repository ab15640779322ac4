"""`alerts:` and `alert_rules:`: who is told, and of what."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from urllib.parse import urlsplit

from headgate.core.alerts import SEVERITIES
from headgate.policy.alert_rules import RULES, AlertRule, Unit
from headgate.policy.alert_windows import LONGEST_SECONDS
from headgate.settings.fields import Section, suggestion
from headgate.settings.secrets import SCHEMES, SecretRef
from headgate.settings.tree import Scalar, Table
from headgate.settings.units import Unfit, basis_points, one_of, ratio, seconds, split_url, switch, text_up_to, whole

PLACE_KEYS = ("to", "format", "secret", "severity", "smtp")
SMTP_KEYS = ("host", "port", "tls", "from", "username", "password")
RULE_KEYS = ("over", "window", "minimum", "for", "severity")
DAY = 86_400.0
LOG = "log"

_ADDRESS = re.compile(r"[^@\s<>,;:\"]+@[^@\s<>,;:\"]+")
_HOST = re.compile(r"[A-Za-z0-9._:-]{1,255}")


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """The server that takes mail."""

    host: str = ""
    port: int = 587
    tls: str = "starttls"  # "starttls" | "tls" | "off"
    sender: str = ""
    username: str = ""
    password: SecretRef | None = None


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """One place that is told. A webhook's URL often is its credential, so it is not printed."""

    to: SecretRef | str = field(repr=False)  # http(s)://, mailto:, "log", or a reference to an http(s) URL
    format: str = "json"  # of a webhook: "json" | "slack"
    secret: SecretRef | None = None  # signs what a webhook gets
    severity: str = "warning"  # the least that is told
    smtp: SmtpSettings | None = None

    @property
    def kind(self) -> str:
        """webhook, slack, email or log."""
        if isinstance(self.to, str) and self.to == LOG:
            return LOG
        if isinstance(self.to, str) and self.to.startswith("mailto:"):
            return "email"
        return "slack" if self.format == "slack" else "webhook"

    @property
    def key(self) -> str:
        """The same for the same place in every process and after every restart; tells nothing of a URL's path."""
        return f"{self.kind}-{hashlib.sha256(str(self.to).encode()).hexdigest()[:12]}"

    @property
    def name(self) -> str:
        """For people: what kind, and the host, the address or the reference."""
        if isinstance(self.to, SecretRef):
            return f"{self.kind} {self.to}"
        if self.kind == "email":
            return f"email {self.to.removeprefix('mailto:')}"
        return LOG if self.kind == LOG else f"{self.kind} {urlsplit(self.to).hostname or ''}"


def read_alerts(root: Section) -> tuple[AlertSettings, ...]:
    """`alerts:`, a list of places to tell."""
    found: list[AlertSettings] = []
    for node, path in root.items("alerts"):
        section = Section(root.context, node, path, PLACE_KEYS)
        if "to" not in section.table.entries and isinstance(node, Table):
            section.wrong("to", "is missing: an http(s) URL, mailto:somebody@example.com, log, or a reference to a URL")
        place = AlertSettings(
            to=_target(section),
            format=section.take("format", one_of(("json", "slack")), "json"),
            secret=section.secret("secret"),
            severity=section.take("severity", one_of(SEVERITIES), "warning"),
            smtp=_smtp(section) if "smtp" in section.table.entries else None,
        )
        _check(section, place)
        if place.to and any(each.key == place.key for each in found):
            section.wrong("to", "is told already by an earlier entry")
        found.append(place)
    return tuple(found)


def _target(section: Section) -> SecretRef | str:
    node = section.table.entries.get("to")
    if isinstance(node, Scalar) and node.text.partition(":")[0] in SCHEMES:
        return section.secret("to") or ""
    return section.take("to", _place, "", show=False)


def _place(text: str) -> str:
    if text == LOG:
        return text
    if text.startswith("mailto:"):
        if _ADDRESS.fullmatch(text.removeprefix("mailto:")) is None or "?" in text:
            raise ValueError("expected one address, like mailto:ops@example.com")
        return text
    try:
        split_url(text, ("http", "https"))
    except ValueError as error:
        raise ValueError(f"{error}, mailto:, log, or a reference to a URL ({', '.join(SCHEMES)})") from None
    return text


def _smtp(section: Section) -> SmtpSettings:
    told = section.section("smtp", SMTP_KEYS)
    default = SmtpSettings()
    tls = told.take("tls", one_of(("starttls", "tls", "off")), default.tls)
    return SmtpSettings(
        host=told.take("host", _host, ""),
        port=told.take("port", whole(1, 65_535), 465 if tls == "tls" else default.port),
        tls=tls,
        sender=told.take("from", _address, ""),
        username=told.take("username", text_up_to(200), ""),
        password=told.secret("password"),
    )


def _check(section: Section, place: AlertSettings) -> None:
    """What does not go together."""
    if place.kind == "email":
        smtp = place.smtp
        if smtp is None or not smtp.host or not smtp.sender:
            section.wrong("smtp", "mail needs {host: ..., from: ...}")
        elif (smtp.username != "") != (smtp.password is not None):
            section.wrong("smtp", "username and password belong together")
        elif smtp.password is not None and smtp.tls == "off":
            section.wrong("smtp", "a password is not sent without encryption: tls has to be starttls or tls")
    elif place.smtp is not None:
        section.wrong("smtp", "is for mailto: only")
    if place.kind in ("email", LOG):
        for key in ("format", "secret"):
            if key in section.table.entries:
                section.wrong(key, "is for webhooks only")
    elif place.kind == "slack" and place.secret is not None:
        section.wrong("secret", "Slack checks no signature: its URL is the credential")


def _host(text: str) -> str:
    if _HOST.fullmatch(text) is None:
        raise Unfit("expected the name or the address of a mail server")
    return text


def _address(text: str) -> str:
    if _ADDRESS.fullmatch(text) is None:
        raise Unfit("expected an address, like headgate@example.com")
    return text


def read_alert_rules(root: Section) -> Mapping[str, AlertRule]:
    """`alert_rules:`, a mapping from rules to `off`, `on`, or what is different. All rules, as they are then."""
    found = dict(RULES)
    for name, node, path in root.named("alert_rules"):
        rule = RULES.get(name)
        if rule is None:
            root.context.wrong_name(path, f"there is no such rule{suggestion(name, tuple(RULES), label='rules')}")
        elif isinstance(node, Scalar) and not node.null:
            try:
                found[name] = replace(rule, on=switch(node.text))
            except ValueError as error:
                root.context.wrong(path, f"{error}, or a mapping with {', '.join(_keys(rule))}")
        else:
            found[name] = _rule(Section(root.context, node, path, _keys(rule)), rule)
    return MappingProxyType(found)


def _keys(rule: AlertRule) -> tuple[str, ...]:
    """Those that mean something for a rule."""
    told = ["severity"]
    if rule.unit:
        told.insert(0, "over")
        if rule.minimum:
            told += ["window", "minimum"]
        if rule.unit != "days":
            told.append("for")
    return tuple(told)


def _rule(section: Section, rule: AlertRule) -> AlertRule:
    known = _keys(rule)
    told = section.take("severity", one_of(SEVERITIES), str(rule.severity))
    changed = replace(rule, severity="critical" if told == "critical" else "warning")
    if "over" in known:
        changed = replace(changed, over=section.take("over", _over(rule), rule.over))
    if "window" in known:
        changed = replace(
            changed,
            window=section.take("window", seconds(30, LONGEST_SECONDS), rule.window),
            minimum=section.take("minimum", whole(1, 1_000_000), rule.minimum),
        )
    if "for" in known:
        changed = replace(changed, lasts=section.take("for", seconds(0, 3_600, zero=True), rule.lasts))
    return changed


def _over(rule: AlertRule) -> Callable[[str], float]:
    return seconds(0.001, rule.most) if rule.most else _OVER[rule.unit]


def _share(text: str) -> float:
    return basis_points(text) / 10_000


def _days(text: str) -> float:
    return seconds(DAY, 366 * DAY)(text) / DAY


def _count(text: str) -> float:
    return float(whole(0, 1_000_000_000)(text))


_OVER: Mapping[Unit, Callable[[str], float]] = {
    "share": _share,
    "ratio": ratio,
    "count": _count,
    "days": _days,
}
