"""The report as a page: Markdown or HTML, one file, nothing fetched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from headgate.cli.redteam.reporting import COLUMNS, HEADS
from headgate.cli.text import safe
from headgate.core.errors import ConfigError

KINDS = (".html", ".md")
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#24292f;"
    "background:#fff}table{border-collapse:collapse;margin:1rem 0}th,td{border:1px solid #d0d7de;padding:.3rem .6rem;"
    "text-align:right}th:first-child,td:first-child{text-align:left}caption{text-align:left;font-weight:600}"
    "code{background:#f6f8fa;padding:.1rem .3rem}"
)

Block = tuple[str, Any]
"""("h1" | "h2" | "p", text), ("list", texts) or ("table", (heads, rows))."""


def check_report(to: Path) -> Path:
    """Say before the attacks what would keep their report from being written.

    Raises:
        ConfigError: another format, or no such folder.
    """
    if to.suffix.lower() not in KINDS:
        raise ConfigError(f"--report: {to} has to end in {' or '.join(KINDS)}")
    if not to.parent.is_dir():
        raise ConfigError(f"--report: there is no folder {to.parent}")
    return to


def save_report(document: dict[str, Any], to: Path) -> None:
    """Write it.

    Raises:
        ConfigError: the file cannot be written.
    """
    blocks = list(_blocks(document))
    page = _html(blocks) if to.suffix.lower() == ".html" else _markdown(blocks)
    try:
        to.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--report: {to} cannot be written ({error.strerror})") from None


def _blocks(document: dict[str, Any]) -> Iterator[Block]:
    yield "h1", "Red team report"
    config = document["config"] or "no configuration file"
    yield (
        "p",
        (
            f"{config}. Every provider was the simulator, playing a model that obeys every instruction in every text. "
            f"The guards were those of the configuration. {document['got_through']} attacks got through, "
            f"{document['not_tried']} could not be tried."
        ),
    )
    for subject in document["subjects"]:
        yield from _subject(subject)


def _subject(subject: dict[str, Any]) -> Iterator[Block]:
    yield "h2", f"{subject['who']}, profile {subject['profile']}"
    rows = [
        (family.replace("_", " "), sum(ended.values()), *(ended[column] for column in COLUMNS))
        for family, ended in subject["families"].items()
    ]
    yield "table", (HEADS, rows)
    for kind, work in subject["harmless"].items():
        yield "p", f"Harmless {kind.replace('_', ' ')}: {work['completed']} of {work['of']} went on."
        if work["failed"]:
            told = [
                f"{each['times']} times: {each['why']} ({each['findings'] or 'no finding'})" for each in work["failed"]
            ]
            yield "list", told
    if subject["allowed_tools"]:
        yield "p", f"Allowed by rules, to whoever is obeyed: {', '.join(subject['allowed_tools'])}."
    if subject["could_have"]:
        yield "p", "What got through could:"
        yield (
            "table",
            (
                ("what", "times", "from"),
                [(each["impact"], each["times"], ", ".join(each["channels"])) for each in subject["could_have"]],
            ),
        )
    if subject["not_tried"]:
        yield "p", "Not tried:"
        yield "list", sorted({f"{each['attack']}: {each['detail']}" for each in subject["not_tried"]})[:20]
    if subject["advice"]:
        yield "p", "What would have stopped it; each line was tried:"
        yield (
            "table",
            (
                ("line", "stops", "of", "in"),
                [
                    (each["line"] or "none found", each["stops"], each["of"], each["where"])
                    for each in subject["advice"]
                ],
            ),
        )


def _html(blocks: Sequence[Block]) -> str:
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Red team report</title><style>{_STYLE}</style>'
    ]
    for kind, content in blocks:
        if kind == "list":
            parts.append("<ul>" + "".join(f"<li>{_text(each)}" for each in content) + "</ul>")
        elif kind == "table":
            heads, rows = content
            parts.append("<table><tr>" + "".join(f'<th scope="col">{_text(head)}' for head in heads))
            parts += ["<tr>" + "".join(f"<td>{_text(cell)}" for cell in row) for row in rows]
            parts.append("</table>")
        else:
            parts.append(f"<{kind}>{_text(content)}</{kind}>")
    return "\n".join(parts) + "\n"


def _text(value: object) -> str:
    return escape(safe(value))


def _markdown(blocks: Sequence[Block]) -> str:
    parts = []
    for kind, content in blocks:
        if kind == "list":
            parts.append("\n".join(f"* {_plain(each)}" for each in content))
        elif kind == "table":
            heads, rows = content
            lines = [heads, ["---"] * len(heads), *rows]
            parts.append("\n".join(f"| {' | '.join(map(_plain, line))} |" for line in lines))
        else:
            parts.append({"h1": "# ", "h2": "## ", "p": ""}[kind] + _plain(content))
    return "\n\n".join(parts) + "\n"


def _plain(value: object) -> str:
    """A cell or a line that no name in it can break out of."""
    told = safe(value)
    return told if told == "---" else "".join(f"\\{char}" if char in "\\|`*[]<>#" else char for char in told)
