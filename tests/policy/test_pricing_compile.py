"""The compiler: the file in the tree is what it makes, and what it cannot carry over without loss it refuses."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from genai_prices import data_snapshot
from genai_prices import types as gp

from headgate.policy import pricebook, pricepins

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "compile_prices.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compile_prices", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def provider(model: gp.ModelInfo, name: str = "openai") -> gp.Provider:
    return gp.Provider(id=name, name=name, api_pattern="", models=[model])


def model(**changes: Any) -> gp.ModelInfo:
    values: dict[str, Any] = {
        "id": "m",
        "match": gp.ClauseEquals("m"),
        "prices": gp.ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(2)),
    }
    return gp.ModelInfo(**{**values, **changes})


@pytest.fixture
def compiled(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Compile one made-up provider."""

    def run(only: gp.Provider) -> bytes:
        monkeypatch.setattr(script, "_unused", lambda providers: [])
        monkeypatch.setattr(
            script, "get_snapshot", lambda: data_snapshot.DataSnapshot(providers=[only], from_auto_update=False)
        )
        return bytes(script.compile_prices("2026-11-20"))

    return run


def test_the_file_in_the_tree_is_what_the_compiler_makes(script: ModuleType) -> None:
    assert script.compile_prices("2026-11-20") == pricepins.packaged(pricepins.PRICES_FILE)


def test_a_rate_finer_than_a_pico_dollar_stops_the_compiler(compiled: Any, script: ModuleType) -> None:
    fine = model(prices=gp.ModelPrice(input_mtok=Decimal("0.0000001"), output_mtok=Decimal(1)))
    with pytest.raises(script.CannotCompile, match=r"openai/m input_mtok: .* finer than a pico-dollar"):
        compiled(provider(fine))


@pytest.mark.parametrize(
    ("usd", "pico"),
    [("0.18000000000000002", 180_000), ("0.27999999999999997", 280_000), ("0.08333333333333334", 83_334)],
)
def test_an_aggregators_noise_is_rounded_away_and_a_repeating_decimal_up(compiled: Any, usd: str, pico: int) -> None:
    noisy = model(prices=gp.ModelPrice(input_mtok=Decimal(usd), output_mtok=Decimal(1)))
    assert f'"i":{pico},'.encode() in compiled(provider(noisy, "openrouter"))


@pytest.mark.parametrize(
    "odd",
    [
        model(prices=gp.ModelPrice(input_mtok=Decimal(1), thoughts_mtok=Decimal(1))),
        model(prices=gp.ModelPrice(input_mtok=Decimal(-1))),
        model(prices=gp.ModelPrice(input_mtok=Decimal("NaN"))),
        model(match="m"),
        model(price_variants=[gp.PriceVariant(when={"moon": "full"}, prices=gp.ModelPrice(input_mtok=Decimal(1)))]),
        model(prices=[gp.ConditionalPrice(constraint="later", prices=gp.ModelPrice(input_mtok=Decimal(1)))]),  # type: ignore[arg-type]  # wrong on purpose
    ],
    ids=["price key", "negative", "not a number", "match rule", "context", "constraint"],
)
def test_what_it_does_not_know_stops_the_compiler(compiled: Any, script: ModuleType, odd: gp.ModelInfo) -> None:
    with pytest.raises(script.CannotCompile):
        compiled(provider(odd))


def test_a_model_with_an_empty_price_is_unknown_unless_it_says_that_it_is_free(compiled: Any) -> None:
    assert b'"p":null' in compiled(provider(model(prices=gp.ModelPrice())))
    assert b'"p":[[null,{}]]' in compiled(provider(model(id="m:free", prices=gp.ModelPrice())))


def test_a_slip_in_our_own_tables_stops_the_compiler(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(script.MAX_OUTPUT, "openai", {"gpt-4p": 1})
    with pytest.raises(script.CannotCompile, match="openai/gpt-4p"):
        script.compile_prices("2026-11-20")


def test_check_tells_an_outdated_file_by_its_exit_code(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(script, "DATA", tmp_path)
    assert script.main(["--date", "2026-11-20", "--check"]) == 1
    assert script.main(["--date", "2026-11-20"]) == 0
    assert script.main(["--date", "2026-11-20", "--check"]) == 0


def test_the_pinned_date_is_not_in_the_future_of_its_prices() -> None:
    day = datetime.strptime(pricepins.PRICES_FILE, "prices-%Y-%m-%d.json").replace(tzinfo=UTC)
    assert pricebook.PriceBook.load().find("openai", "gpt-6-luna", day.timestamp()) is not None
