"""The chart of `headgate lab costs`, with matplotlib: each way's bill, step on step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.cli.audit_text import money
from headgate.core.errors import ConfigError

if TYPE_CHECKING:
    from headgate.cli.lab_pipeline import Bill

_PAPER, _INK = "#ffffff", "#24292f"
# Okabe and Ito's colours, which stay apart for people who see few of them; and a hatch each, for those who see none.
_STYLES = {"extract": ("#0072B2", ""), "summarise": ("#E69F00", "///"), "answer": ("#009E73", "...")}
_UNDATED: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".png": {"Software": None}}


def save(bills: Sequence[Bill], to: Path) -> None:
    """Draw and save; the same bills make the same file.

    Raises:
        ConfigError: the file cannot be written.
    """
    import matplotlib as mpl

    told: Any = {"svg.fonttype": "none", "svg.hashsalt": "headgate", "font.size": 10, "text.color": _INK}
    with mpl.rc_context(told):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 3.4), facecolor=_PAPER, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        names = [bill.way.name for bill in bills]
        left = [0.0] * len(bills)
        for step, (colour, hatch) in _STYLES.items():
            parts = [bill.ours[step] / 10**9 for bill in bills]
            axes.barh(names, parts, left=left, color=colour, hatch=hatch, edgecolor=_PAPER, label=step, zorder=3)
            left = [a + b for a, b in zip(left, parts, strict=True)]
        for place, bill in enumerate(bills):
            axes.text(left[place] + max(left) * 0.01, place, money(bill.total), va="center", fontsize=9)
        axes.invert_yaxis()
        axes.set_xlim(0, max(left) * 1.2)
        axes.set_xlabel("USD (simulated)")
        axes.set_title("The bill of the same pipeline", loc="left", fontweight="bold")
        axes.legend(loc="lower right", frameon=False, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(visible=True, axis="x", color="#d8dee4", linewidth=0.6, zorder=0)
        try:
            figure.savefig(to, dpi=144, facecolor=_PAPER, metadata=_UNDATED.get(to.suffix.lower()))
        except OSError as error:
            raise ConfigError(f"--chart: {to} cannot be written ({error.strerror})") from None
