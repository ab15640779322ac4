"""Makes the pictures of docs/img/dashboard-*.png anew: a made-up fortnight of three tenants, in headless Chromium.

Needs Chromium on the PATH (Debian: apt-get install chromium). Example: .venv/bin/python scripts/screenshots.py
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image  # comes with matplotlib
from playwright import sync_api

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "pages"))

from pages_stories import life  # noqa: E402
from pages_world import World, world  # noqa: E402

from headgate.core.approvals import Parked  # noqa: E402
from headgate.core.caller import Caller  # noqa: E402
from headgate.core.guards import ToolCall  # noqa: E402

OUT = ROOT / "docs" / "img"
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 780}
PICTURES = (
    ("overview", "/", DESK, "light"),
    ("exchanges", "/ui/exchanges", DESK, "dark"),
    ("exchange", "slow", DESK, "light"),
    ("conversation", "/ui/conversations/returns-4711", PHONE, "dark"),
    ("spend", "/ui/spend", DESK, "light"),
    ("guards", "/ui/guards", DESK, "light"),
)
MOST = 150 * 1024


def wait_for_a_person(gate: World, now: float) -> None:
    """Two tool calls."""
    caller = Caller(tenant="acme", user="ada@acme.example", session="returns-4711", task="chat")
    email = {"to": "ada@acme.example", "subject": "Your refund", "body": "Dear Ada,\nit is on its way."}
    for number, (tool, arguments) in enumerate((("send_email", email), ("refund", {"order": 4711, "usd": 89.5}))):
        call, asked = ToolCall(f"call-{number}", tool, json.dumps(arguments)), now - 60 - 240 * number
        gate.built.approvals.keep(Parked(f"ap_{number}", asked, asked + 86_400, caller, call, "ex_none", "digest"))


def main() -> None:
    """Every picture, and how large it is."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        sys.exit("no Chromium on the PATH (Debian: apt-get install chromium)")
    now = time.time()
    with (
        tempfile.TemporaryDirectory() as folder,
        world(Path(folder)) as gate,
        sync_api.sync_playwright() as playwright,
    ):
        gate.record(life(now), budgeted=now // 86_400 * 86_400)
        gate.summed()
        wait_for_a_person(gate, now)
        chromium = playwright.chromium.launch(executable_path=found, args=QUIET)
        for name, path, size, colours in PICTURES:
            page = chromium.new_page(viewport=size, color_scheme=colours, base_url=gate.url)
            page.goto(path if path != "slow" else "/ui/exchanges?q=correlation_id:order-4711&min_ms=5000")
            if path == "slow":
                page.locator("#rows a").first.click()
            page.wait_for_load_state("networkidle")
            target = OUT / f"dashboard-{name}.png"
            page.screenshot(path=target)
            page.close()
            # A page has few colours: with a palette of its own a picture is a third as large.
            shot = Image.open(target).convert("RGB").quantize(192, dither=Image.Dither.NONE)
            shot.save(target, optimize=True)
            print(f"{target.relative_to(ROOT)}  {target.stat().st_size:,} bytes")
            assert target.stat().st_size < MOST, "too large for the repository"
        chromium.close()


if __name__ == "__main__":
    main()
