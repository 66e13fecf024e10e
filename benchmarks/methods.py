"""All methods on the same clips for the same processor time, one table.

    python benchmarks/methods.py --data frames --davis $DATA/davis --minutes 15 --out methods
    python benchmarks/methods.py --data frames --davis $DATA/davis --minutes 2 --sequences rollerblade --out methods

Each recipe is first run for a few steps to learn what a step costs (the loader's part included), then trained anew for
as many as fit into the minutes, with its own schedule over just those. J&F on a DAVIS-2017 root under `dino_480p`, last
block, beside the recipe's network before its training. Writes `rows.jsonl` (and passes over what is there) and
`table.md`.
"""

import argparse
import json
import sys
from pathlib import Path

from kinema.cli import terminal
from kinema.cli.main import main as kinema
from kinema.errors import KinemaError

RECIPES = ("siammae_vitt16_cpu", "videomae_vitt16_cpu", "vicmae_vitt16_cpu", "ino_vitt16_cpu")
OPTIONS = {"vicmae_vitt16_cpu": ["--data.image-share", "None"]}
"""Frames of videos alone for all of them."""
PROBED_STEPS = 12


def main() -> int:
    """Runs what is missing and writes the table; 0 where every command succeeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--davis", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=15.0, help="of processor time, for each method")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--sequences", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path("methods"))
    arguments = parser.parse_args()
    return terminal.run(lambda: _compare(arguments), debug=False)


def _compare(arguments: argparse.Namespace) -> None:
    arguments.out.mkdir(exist_ok=True)
    file = arguments.out / "rows.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    for recipe in arguments.recipes:
        if recipe not in {row["recipe"] for row in rows}:
            rows.append(_row(recipe, arguments))
            with file.open("a") as lines:
                lines.write(json.dumps(rows[-1]) + "\n")
    (arguments.out / "table.md").write_text(_table(rows))
    print(_table(rows))


def _row(recipe: str, arguments: argparse.Namespace) -> dict:
    run: Path = arguments.out / recipe
    steps = _steps_within(60 * arguments.minutes, recipe, arguments)
    _train(recipe, steps, run, arguments.data)
    last = _metrics(run)[-1]
    row = {"recipe": recipe, "steps": steps, "cpu_min": last["cpu_s"] / 60, "loss": last["loss"]}
    for name, weights in (("trained", str(run)), ("untrained", f"untrained:{run}@0")):
        results = arguments.out / f"{recipe}-{name}"
        chosen = ["--sequences", *arguments.sequences] if arguments.sequences else []
        _run(
            *("benchmark", "davis", "--root", arguments.davis, "--weights", weights, "--out", results),
            *("--features.precision", "auto", *chosen),
        )
        row[name] = json.loads((results / "result.json").read_text())["summary"]
    return row


def _steps_within(seconds: float, recipe: str, arguments: argparse.Namespace) -> int:
    """How many steps take that much processor time, from a short run; its start-up is left out."""
    probe = arguments.out / f"{recipe}-probe"
    _train(recipe, PROBED_STEPS, probe, arguments.data, "--train.log-every-steps", 2)
    lines = _metrics(probe)
    step_s = (lines[-1]["cpu_s"] - lines[0]["cpu_s"]) / (lines[-1]["step"] - lines[0]["step"])
    return max(int(seconds / step_s), 2)


def _train(recipe: str, steps: int, run: Path, data: Path, *options: object) -> None:
    duration = ["--train.steps", steps, "--train.warmup-steps", steps // 10, "--train.pictures-every-steps", "None"]
    workers = ["--data.num-workers", 1, "--train.checkpoint-every-steps", max(steps // 2, 1)]
    own = OPTIONS.get(recipe, [])
    _run("pretrain", recipe, "--data", data, "--out", run, *duration, *workers, *own, *options)


def _metrics(run: Path) -> list[dict]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if "loss" in line]


def _run(*words: object) -> None:
    command = [str(word) for word in words]
    print("$ kinema", " ".join(command), flush=True)
    if code := kinema(command):
        raise KinemaError(f"the command above ended with {code}", fix="put right what it says")


def _table(rows: list[dict]) -> str:
    lines = ["| recipe | steps | CPU minutes | loss | J&F untrained | J&F trained | J / F trained |", "|---" * 7 + "|"]
    for row in rows:
        before, after = (100 * row[name]["J&F-Mean"] for name in ("untrained", "trained"))
        parts = " / ".join(f"{100 * row['trained'][name]:.1f}" for name in ("J-Mean", "F-Mean"))
        spent = f"{row['cpu_min']:.1f} | {row['loss']:.3f}"
        lines.append(f"| `{row['recipe']}` | {row['steps']} | {spent} | {before:.1f} | {after:.1f} | {parts} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
