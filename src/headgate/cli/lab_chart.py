"""The chart of `headgate lab retries`, with matplotlib: the work done over time, and what it cost upstream."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.core.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from headgate.cli.lab_run import Outcome

KINDS = (".svg", ".png")
_POINTS = 300  # of a line: as many as can be seen
_PAPER, _INK, _FAINT = "#ffffff", "#24292f", "#8c959f"
# Okabe and Ito's colours, which stay apart for people who see few of them; and a dash each, for those who see none.
_STYLES: dict[str, tuple[str, Any]] = {
    "none": ("#999999", (0, (1, 1))),
    "fixed": ("#E69F00", (0, (5, 1))),
    "exponential": ("#CC79A7", (0, (3, 1, 1, 1))),
    "jitter": ("#56B4E9", (0, (4, 1, 1, 1, 1, 1))),
    "retry-after": ("#D55E00", (0, (2, 1))),
    "paced": ("#0072B2", "solid"),
}


def check_chart(to: Path) -> Path:
    """Say before the experiment what would keep its chart from being saved.

    Raises:
        ConfigError: another format, no such folder, or matplotlib is not installed.
    """
    if to.suffix.lower() not in KINDS:
        raise ConfigError(f"--chart: {to} has to end in {' or '.join(KINDS)}")
    if not to.parent.is_dir():
        raise ConfigError(f"--chart: there is no folder {to.parent}")
    if find_spec("matplotlib") is None:
        raise ConfigError("--chart needs matplotlib: pip install 'headgate[lab]'")
    return to


def save_chart(outcomes: Sequence[Outcome], to: Path) -> None:
    """Draw and save; the same outcomes make the same file.

    Raises:
        ConfigError: the file cannot be written.
    """
    import matplotlib as mpl

    told: Any = {
        "svg.fonttype": "none",  # text stays text: small, sharp and searchable
        "svg.hashsalt": "headgate",
        "font.family": "sans-serif",
        "font.size": 10,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": _FAINT,
        "xtick.color": _INK,
        "ytick.color": _INK,
    }
    with mpl.rc_context(told):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10, 4.4), facecolor=_PAPER, layout="constrained")
        FigureCanvasAgg(figure)
        over_time, upstream = figure.subplots(1, 2, width_ratios=(3, 2))
        _over_time(over_time, outcomes)
        _upstream(upstream, outcomes)
        work = outcomes[0].work
        figure.suptitle(
            f"{work.calls:,} calls against a limit of {work.account.requests_per_minute:,} requests per minute",
            fontweight="bold",
        )
        try:
            figure.savefig(to, dpi=144, facecolor=_PAPER, metadata=_UNDATED.get(to.suffix.lower()))
        except OSError as error:
            raise ConfigError(f"--chart: {to} cannot be written ({error.strerror})") from None


_UNDATED: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".png": {"Software": None}}


def _over_time(axes: Axes, outcomes: Sequence[Outcome]) -> None:
    """How many calls had been answered by when."""
    work = outcomes[0].work
    end = max(work.ideal, *(outcome.finished for outcome in outcomes))
    moments = [end * number / _POINTS for number in range(_POINTS + 1)]
    for outcome in outcomes:
        colour, dash = _STYLES[outcome.strategy.name]
        ended = sorted(call.ended for call in outcome.calls if call.completed)
        paced = outcome.strategy.paced
        axes.plot(
            moments,
            [bisect_right(ended, moment) for moment in moments],
            color=colour,
            linestyle=dash,
            linewidth=2.6 if paced else 1.8,
            zorder=4 if paced else 3,
            label=outcome.strategy.name,
        )
    axes.axvline(work.ideal, color=_INK, linewidth=1, linestyle=(0, (6, 3)), zorder=2, label="ideal end")
    axes.set_title(f"Calls answered over time, of {work.calls:,}", loc="left", fontsize=11)
    axes.set_xlabel("seconds (simulated)")
    axes.set_ylabel("calls answered")
    axes.set_xlim(0, end * 1.02)
    axes.set_ylim(0, work.calls * 1.06)
    axes.legend(loc="upper left", frameon=False, fontsize=9, handlelength=3.6)
    _plain(axes)


def _upstream(axes: Axes, outcomes: Sequence[Outcome]) -> None:
    """Requests per call, the refused ones apart."""
    names = [outcome.strategy.name for outcome in outcomes]
    calls = outcomes[0].work.calls
    answered = [(outcome.upstream - outcome.refused) / calls for outcome in outcomes]
    refused = [outcome.refused / calls for outcome in outcomes]
    axes.barh(names, answered, color="#0072B2", label="answered", zorder=3)
    axes.barh(
        names, refused, left=answered, color="#E69F00", hatch="///", edgecolor=_PAPER, label="refused (429)", zorder=3
    )
    most = max(outcome.per_call for outcome in outcomes)
    for place, outcome in enumerate(outcomes):
        left_out = calls - outcome.completed
        said = f"{outcome.per_call:.2f}" + (f"; {left_out:,} given up" if left_out else "")
        axes.text(outcome.per_call + most * 0.02, place, said, va="center", fontsize=9, zorder=4)
    axes.invert_yaxis()
    axes.set_xlim(0, most * 1.55)
    axes.set_title("Upstream calls per logical call", loc="left", fontsize=11)
    axes.legend(loc="upper right", bbox_to_anchor=(1.0, -0.12), ncols=2, frameon=False, fontsize=9)
    _plain(axes)
    axes.grid(visible=False, axis="y")


def _plain(axes: Axes) -> None:
    axes.set_facecolor(_PAPER)
    axes.grid(visible=True, color="#d8dee4", linewidth=0.6, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
