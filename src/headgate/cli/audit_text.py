"""An audit for a terminal and as a JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.text import count, dollars, print_table, safe
from headgate.core.money import usd_text

if TYPE_CHECKING:
    from headgate.policy.audit.run import Audit, Part

_ROWS = 8  # of each dimension in the terminal
_CENT = 10_000_000


def money(nano: int) -> str:
    """Nano-dollars to the cent; below a dollar to a hundredth of a cent, and what is less than that exactly."""
    size = abs(nano)
    if 0 < size < _CENT // 100:
        return dollars(nano)
    sign = "-" if nano < 0 else ""
    if 0 < size < 100 * _CENT - _CENT // 200:
        parts = (size + _CENT // 200) // (_CENT // 100)
        return f"{sign}$0.{parts:04d}"
    cents = (size + _CENT // 2) // _CENT
    return f"{sign}${cents // 100:,}.{cents % 100:02d}"


def share(part: int, whole: int) -> str:
    """A part in per cent."""
    return f"{part / whole:.1%}" if whole else "-"


def zone_of(zone: str) -> tzinfo:
    """A zone that is known to exist."""
    if zone == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    return ZoneInfo(zone)


def span(found: Audit, zone: str) -> str:
    """From when to when."""
    first, last = (datetime.fromtimestamp(at, zone_of(zone)) for at in (found.first, found.last))
    return f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} ({zone})"


def remarks(found: Audit) -> list[str]:
    """What has to be known beside the numbers."""
    told = []
    if found.charged_nano is not None and found.charged_nano != found.before_nano:
        told.append(
            f"Charged by the record: {money(found.charged_nano)}. Savings are measured against "
            f"{money(found.before_nano)}, the same calls at the prices of {found.version}."
        )
    if found.fixed:
        told.append(
            f"{count(found.fixed)} calls were charged for what is not on record (bounds, batches, nested usage): "
            "nothing is advised about them."
        )
    if found.unpriced:
        told.append(f"{count(found.unpriced)} calls have no price: they keep what they were charged.")
    return told + list(found.gaps)


def shown_parts(found: Audit) -> Mapping[str, list[Part]]:
    """The dimensions that tell something."""
    return {
        name: parts
        for name, parts in found.parts.items()
        if len(parts) > 1 or (parts and parts[0].name and name != "hour")
    }


def print_audit(found: Audit, zone: str) -> None:
    """Tables, the advice with its risks, and the lines for headgate.yaml."""
    from headgate.policy.audit.run import KINDS

    if not found.calls:
        click.echo("Nothing was recorded in this time.")
        return
    click.echo(f"{count(found.calls)} calls, {span(found, zone)}: {money(found.before_nano)}\n")
    for name, parts in shown_parts(found).items():
        _print_parts(name, parts, found.before_nano)
    if not found.advice:
        click.echo("Nothing was found that would have cost less.")
    else:
        rows = [
            (KINDS[each.kind], each.about, each.what, count(each.calls), *_saving(each.saved_nano, found.before_nano))
            for each in found.advice
        ]
        footer = ["all together", "", "", "", *_saving(found.saved_nano, found.before_nano)]
        heads = ("change", "of", "what", "calls", "saves", "share")
        title = "What would have been saved, each on what the ones above it left"
        print_table(heads, rows, left=3, footer=footer, title=title)
        click.echo(f"\n{money(found.before_nano)} would have been {money(found.after_nano)}.\n")
        _print_risks(found)
        lines = yaml_lines(written(found))
        if lines:
            click.echo("\nIn headgate.yaml:\n")
            click.echo("\n".join(f"  {safe(line)}" for line in lines))
    for remark in remarks(found):
        click.echo(f"\n{safe(remark)}", nl=False)
    if remarks(found):
        click.echo("")


def _saving(nano: int, whole: int) -> tuple[str, str]:
    return money(nano), share(nano, whole)


def _print_parts(name: str, parts: list[Part], whole: int) -> None:
    top = parts if name == "hour" else parts[:_ROWS]
    rows = [
        [
            part.name or "-",
            count(part.calls),
            *_saving(part.cost_nano, whole),
            count(part.input_tokens),
            count(part.output_tokens),
        ]
        for part in top
    ]
    if len(parts) > len(top):
        rest = parts[len(top) :]
        cost = sum(part.cost_nano for part in rest)
        tokens = [count(sum(getattr(part, kind) for part in rest)) for kind in ("input_tokens", "output_tokens")]
        calls = count(sum(part.calls for part in rest))
        rows.append([f"({count(len(rest))} more)", calls, money(cost), share(cost, whole), *tokens])
    print_table((name, "calls", "cost", "share", "input", "output"), rows, left=1)
    click.echo("")


def _print_risks(found: Audit) -> None:
    from headgate.policy.audit.run import KINDS

    click.echo("Risks, and what the numbers assume:")
    for kind, name in KINDS.items():
        mine = [each for each in found.advice if each.kind == kind]
        if not mine:
            continue
        click.echo(f"  {name}")
        for risk in dict.fromkeys((each.about, each.risk) for each in mine):
            click.echo(f"    {safe(risk[0])}: {safe(risk[1])}")
        assumed = dict.fromkeys(text for each in mine for text in each.assumes)
        if assumed:
            click.echo(f"    Assumed: {'; '.join(assumed)}.")


def written(found: Audit) -> dict[str, Any]:
    """What to write in headgate.yaml: of what the advice names, that which this version reads."""
    from headgate.policy.audit.run import settings_of
    from headgate.settings.policies import TASK_KEYS

    told: dict[str, Any] = settings_of(found.advice)
    tasks = {
        name: {key: value for key, value in task.items() if key in TASK_KEYS}
        for name, task in told.pop("tasks", {}).items()
    }
    # A name that a terminal would act on is none that a configuration can have.
    tasks = {name: task for name, task in tasks.items() if task and safe(name) == name}
    return {"tasks": tasks, **told} if tasks else told


def yaml_lines(settings: Mapping[str, Any], indent: int = 0) -> list[str]:
    """Nested mappings as YAML."""
    import json

    found: list[str] = []
    for name, value in settings.items():
        key = name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json.dumps(name)
        if isinstance(value, Mapping):
            found.append(f"{'  ' * indent}{key}:")
            found += yaml_lines(value, indent + 1)
        else:
            plain = isinstance(value, int) or all(c.isalnum() or c in "-_./" for c in value)
            found.append(f"{'  ' * indent}{key}: {value if plain else json.dumps(value)}")
    return found


def as_document(found: Audit) -> dict[str, Any]:
    """For `--json`: money as decimal strings of USD."""
    from headgate.policy.audit.run import KINDS

    return {
        "calls": found.calls,
        "first": found.first,
        "last": found.last,
        "price_version": found.version,
        "charged_usd": None if found.charged_nano is None else usd_text(found.charged_nano),
        "before_usd": usd_text(found.before_nano),
        "after_usd": usd_text(found.after_nano),
        "saved_usd": usd_text(found.saved_nano),
        "saved_share": found.saved_nano / found.before_nano if found.before_nano else 0.0,
        "by": {
            name: [
                {
                    name: part.name,
                    "calls": part.calls,
                    "cost_usd": usd_text(part.cost_nano),
                    "input_tokens": part.input_tokens,
                    "output_tokens": part.output_tokens,
                }
                for part in parts
            ]
            for name, parts in found.parts.items()
        },
        "order": list(KINDS),
        "advice": [
            {
                "kind": each.kind,
                "about": each.about,
                "what": each.what,
                "calls": each.calls,
                "saved_usd": usd_text(each.saved_nano),
                "risk": each.risk,
                "assumes": list(each.assumes),
            }
            for each in found.advice
        ],
        "settings": written(found),
        "unpriced_calls": found.unpriced,
        "fixed_calls": found.fixed,
        "gaps": list(found.gaps),
    }
