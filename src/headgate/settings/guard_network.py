"""`guards.moderation`, `judge`, `topic`, `webhook`, `classifier`: guards that ask somebody; all off by default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from headgate.core.checks import Check
from headgate.settings.fields import Section
from headgate.settings.secrets import SecretRef
from headgate.settings.tree import Scalar
from headgate.settings.units import Unfit, money, one_of, seconds, split_url, text_up_to

NETWORK_GUARDS = ("moderation", "judge", "topic", "webhook", "classifier")
_SHARED = ("mode", "on_failure", "timeout", "threshold", "texts")
_OWN = {
    "moderation": ("provider", "url", "secret", "model", "categories"),
    "judge": ("model",),
    "topic": ("model", "topics"),
    "webhook": ("url", "secret"),
    "classifier": ("model",),
}
NETWORK_KEYS = (*_SHARED, "provider", "url", "secret", "model", "categories", "topics")
_BOTH = frozenset({"moderation", "webhook"})  # look at answers too, unless told otherwise

_seconds = seconds(0.05, 30)
_name = text_up_to(200)
_share = money(1000, 1, unit="a score")


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """What a section says of one such guard. `check` None: it is off."""

    guard: str
    check: Check | None = None
    secret: SecretRef | None = None


def read_checks(section: Section) -> tuple[CheckSettings, ...]:
    """Those that a `guards:` section tells of."""
    return tuple(_read(section, guard) for guard in NETWORK_GUARDS if section.node(guard) is not None)


def _read(guards: Section, guard: str) -> CheckSettings:
    if isinstance(guards.table.entries[guard], Scalar):
        modes = ("off", "flag", "block") if guard == "moderation" else ("off",)
        mode = guards.take(guard, one_of(modes), "off")
        if mode == "off":
            return CheckSettings(guard)
        return CheckSettings(guard, Check(guard, mode == "block", outputs=True, provider="openai"))
    section = guards.section(guard, (*_SHARED, *_OWN[guard]))
    mode = section.take("mode", one_of(("off", "flag", "block")), "flag")
    closed = section.take("on_failure", one_of(("open", "closed")), "open") == "closed"
    if closed and mode == "flag":
        section.wrong("on_failure", "closed blocks calls, and mode is flag: use mode: block, or on_failure: open")
    texts = section.take("texts", one_of(("input", "output", "both")), "both" if guard in _BOTH else "input")
    if texts != "input" and guard in ("judge", "classifier"):
        section.wrong("texts", f"{guard} looks for instructions in what goes in: only `input`")
    secret = section.secret("secret") if "secret" in _OWN[guard] else None
    check = Check(
        guard,
        mode == "block",
        closed,
        section.take("timeout", _seconds, 2.0),
        section.take("threshold", lambda text: float(_share(text)), None),
        inputs=texts != "output",
        outputs=texts != "input",
        secret="" if secret is None else f"{secret.scheme}:{secret.name}",
    )
    if mode == "off":
        return CheckSettings(guard)
    return CheckSettings(guard, _with_own(section, check), secret)


def _with_own(section: Section, check: Check) -> Check:
    own = _OWN[check.guard]
    url = section.take_url("url", _url, "") if "url" in own else ""
    model = section.take("model", _name, "") if "model" in own else ""
    if check.guard == "moderation":
        provider = section.take("provider", _name, "")
        if url and provider:
            section.wrong("provider", "url says where it is: keep one of them")
        if check.secret and not url:
            section.wrong("secret", "is for a url; a provider has its own key")
        provider = provider or ("" if url else "openai")
        return replace(check, provider=provider, url=url, model=model, categories=section.texts("categories", _name))
    if check.guard == "webhook":
        for key, told in (("url", url), ("secret", check.secret)):
            if not told and key not in section.table.entries:
                section.wrong(key, "is missing: where to ask, and the reference of what signs it")
        return replace(check, url=url)
    if not model and "model" not in section.table.entries:
        section.wrong("model", "is missing: who judges, like claude-haiku-4-5 or a virtual model")
    topics = section.texts("topics", text_up_to(400)) if "topics" in own else ()
    if check.guard == "topic" and not topics:
        section.wrong("topics", "is missing: what texts may be about, in words, like [our products, deliveries]")
    return replace(check, model=model, topics=topics)


def _url(text: str) -> str:
    url = split_url(text, ("http", "https"))
    if url.username is not None or url.fragment:
        raise Unfit("expected a URL without a credential and without a #")
    return text


def checks_of(levels: Sequence[tuple[str, tuple[CheckSettings, ...]]]) -> tuple[Check, ...]:
    """The guards of a call from what was told, the most specific level first: (profile, guards). A level that tells
    of a guard decides about it; so does one that switches all guards off."""
    found = []
    for guard in NETWORK_GUARDS:
        for profile, told in levels:
            here = next((each for each in told if each.guard == guard), None)
            if here is not None and here.check is not None:
                found.append(here.check)
            if here is not None or profile == "off":
                break
    return tuple(found)


def secrets_of(sections: Sequence[tuple[CheckSettings, ...]]) -> Mapping[str, SecretRef]:
    """The references that guards need, by `core.checks.Check.secret`."""
    told = [each for section in sections for each in section]
    return {each.check.secret: each.secret for each in told if each.check is not None and each.secret is not None}
