"""`headgate simulate`."""

from __future__ import annotations

import json
import signal
import urllib.request
from pathlib import Path

import anthropic
import openai
from cli_commands import Run, started


def test_both_sdks_are_answered_and_billed_on_the_printed_addresses(tmp_path: Path) -> None:
    with started("simulate", "--port", "0", "--seed", "3", cwd=tmp_path, until="_sim/invoice") as simulator:
        words = dict(word.split("=", 1) for word in simulator.out.split() if "_URL=" in word or "_KEY=" in word)
        with anthropic.Anthropic(api_key=words["ANTHROPIC_API_KEY"], base_url=words["ANTHROPIC_BASE_URL"]) as claude:
            said = claude.messages.create(
                model="claude-haiku-4-5", max_tokens=20, messages=[{"role": "user", "content": "say: hello"}]
            )
            assert said.content[0].type == "text"
        with openai.OpenAI(api_key=words["OPENAI_API_KEY"], base_url=words["OPENAI_BASE_URL"]) as gpt:
            gpt.chat.completions.create(model="gpt-6-luna", messages=[{"role": "user", "content": "say: hello"}])
        with urllib.request.urlopen(f"{simulator.url}/_sim/invoice", timeout=30) as response:
            assert json.load(response)["total"]["lines"] == 2
        simulator.process.send_signal(signal.SIGTERM)
        assert simulator.process.wait(30) == 0


def test_an_unknown_scenario_names_the_ones_there_are(run: Run) -> None:
    done = run("simulate", "--scenario", "armageddon")
    assert done.returncode == 2
    assert "healthy, storm, mixed, outage" in done.stderr


def test_a_scenario_file_with_a_mistake_is_misuse(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("rules: [{fault: {kind: nonsense}}]\n")
    done = run("simulate", "--scenario", "bad.yaml")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
