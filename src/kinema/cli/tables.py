"""Scores as a person reads them: in percent, as papers print them."""

from collections.abc import Mapping, Sequence
from typing import Any

from kinema.errors import counted

_FEW = 12
"""Settings of a sweep that are printed."""


def format_scores(summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for every object, video or clip, then the summary."""
    lines = ["", "  ".join(f"{name} {_percent(value)}" for name, value in summary.items())]
    if not rows:
        return lines[-1]
    return "\n".join([format_table(list(rows[0]), [list(row.values()) for row in rows]), *lines])


def format_comparison(measures: Sequence[str], rows: Sequence[Mapping[str, Any]], warnings: Sequence[str]) -> str:
    """A line for every network and every published row, then what keeps them apart."""
    kept = [name for name in measures if any(name in row["values"] for row in rows if row["origin"] == "published")]
    measures = kept or measures
    cells = [
        [row["method"], *(row["values"].get(name) for name in measures), row["origin"], row["protocol"]] for row in rows
    ]
    lines = [format_table(["network", *measures, "", "protocol"], cells)]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in warnings)])


def format_sweep(result: Mapping[str, Any]) -> str:
    """The best settings, what each dial is worth, and the choice as options."""
    measure, rows = result["headline"], result["rows"]
    dials = list(rows[0]["setting"])
    best = [[*row["setting"].values(), row["summary"][measure]] for row in rows[:_FEW]]
    lines = [f"best {len(best)} of {len(rows)} settings", format_table([*dials, measure], best, plain=len(dials))]
    if result["dials"]:
        worth = [[row["dial"], str(row["value"]), row["chosen"], row["best"], row["mean"]] for row in result["dials"]]
        lines += ["", format_table(["dial", "value", "others as chosen", "best", "mean"], worth)]
        lost = [f"{dial} {_percent(loss)}" for dial, loss in result["spread"].items()]
        lines += ["", f"spread of {measure} as one dial of the chosen setting turns: {', '.join(lost)}"]
    return "\n".join([*lines, "", f"chosen on {result['split']}: {result['options']}"])


def format_accuracy(summary: Mapping[str, float], spread: str = "") -> str:
    """Accuracies of recognition. spread: put behind top-1."""
    top5 = f"  top-5 {_percent(summary['top5'])}" if "top5" in summary else ""
    return (
        f"top-1 {_percent(summary['top1'])}{spread}{top5}  mean class {_percent(summary['mean_class'])}  "
        f"cross-entropy {summary['cross_entropy']:.3f}"
    )


def format_unreadable(unreadable: Sequence[tuple[str, str]]) -> list[str]:
    """One line that counts files that are in no number, and names the first; none where there are none."""
    if not unreadable:
        return []
    first = "" if len(unreadable) == 1 else "the first "
    return [f"{counted(len(unreadable), 'file')} unreadable and in no number: {first}{unreadable[0][1]}"]


def format_table(header: Sequence[str], rows: Sequence[Sequence[Any]], *, plain: int = 0) -> str:
    """Columns of one width, numbers to the right. plain: this many first columns hold no fractions."""
    cells = [[str(cell) if column < plain else _percent(cell) for column, cell in enumerate(row)] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(header, *cells, strict=True)]
    is_text = [all(isinstance(row[n], str) for row in rows) for n in range(len(header))]

    def line(texts: Sequence[str]) -> str:
        padded = [
            text.ljust(width) if left else text.rjust(width)
            for text, width, left in zip(texts, widths, is_text, strict=True)
        ]
        return "  ".join(padded).rstrip()

    return "\n".join(line(texts) for texts in (header, *cells))


def _percent(value: Any) -> str:
    """Fractions in percent; whole numbers and words as they are."""
    if value is None:
        return "-"
    return f"{100 * value:.1f}" if isinstance(value, float) else str(value)
