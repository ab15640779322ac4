"""Runbooks as pages: every one whole, nothing in them that is run, and in the wheel."""

from __future__ import annotations

import re
import tomllib
from html import unescape
from pathlib import Path

import pytest

from headgate.pages import runbooks
from headgate.policy.alert_rules import RULES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("rule", RULES)
def test_a_runbook_is_rendered_whole(rule: str) -> None:
    text = (ROOT / "docs" / "runbooks" / f"{rule}.md").read_text(encoding="utf-8")
    title, body = runbooks.rendered(text)
    shown = unescape(re.sub(r"<[^>]*>", " ", f"{title} {body}"))
    plain = re.sub(r"\]\([^)\s]*\)|^```\w*$|^- |^#+ ", " ", text, flags=re.MULTILINE).translate(
        str.maketrans("", "", "`*[")
    )
    assert "".join(shown.replace("*", "").split()) == "".join(plain.split())
    assert "|--" not in shown  # CommonMark has no tables
    assert runbooks.address(rule) == f"/ui/runbooks/{rule}"


def test_what_is_written_in_a_runbook_cannot_be_markup() -> None:
    title, body = runbooks.rendered(
        "# <b>\n\n<script>1</script> `<i>` **<u>** [<a>](javascript:1) [x](disk_full.md)\n\n```\n<img>\n```\n- <li>\n"
    )
    assert title == "<b>"  # the template escapes it
    assert set(re.findall(r"<[^>]*>", str(body))) == {
        *("<p>", "</p>", "<code>", "</code>", "<strong>", "</strong>", '<a href="/ui/runbooks/disk_full">', "</a>"),
        *('<pre class="code" tabindex="0">', "</pre>", "<ul>", "<li>", "</li>", "</ul>"),
    }


def test_the_wheel_has_the_runbooks_where_an_installed_package_looks_for_them() -> None:
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert built["force-include"] == {"docs/runbooks": "headgate/pages/runbooks"}
    assert runbooks.PLACES[0] == Path(runbooks.__file__).parent / "runbooks"
