"""Scores as a person reads them."""

from collections.abc import Mapping, Sequence
from typing import Any


def score_table(summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for every object, then the summary; in percent, as papers print them."""
    width = max((len(str(row["sequence"])) for row in rows), default=8)
    lines = [f"{'sequence':<{width}}  object  J-Mean  F-Mean"]
    for row in rows:
        lines.append(
            f"{row['sequence']:<{width}}  {row['object']:>6}  {100 * row['J-Mean']:>6.1f}  {100 * row['F-Mean']:>6.1f}"
        )
    lines += ["", "  ".join(f"{name} {100 * summary[name]:.1f}" for name in summary if name != "rows")]
    return "\n".join(lines)
