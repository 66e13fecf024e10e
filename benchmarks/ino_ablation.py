"""What each of INO's losses is worth, in miniature: the same small network, data and steps, one loss changed at a time.

    python benchmarks/ino_ablation.py --out ablation                       # eight trainings of a minute or two
    python benchmarks/ino_ablation.py --out ablation --seeds 0 1 --steps 300

Networks learn from synthetic clips and carry the masks of held-out ones under `ino_ytvos`, block 4 of 6 in the place of
7 of 12. "Unseen" are the figures, "seen" the creatures; neither has labels in the training. Writes `rows.jsonl` (and
passes over what is there already), `table.md` and `ablation.png`.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import fmean

from kinema.cli import terminal
from kinema.cli.main import main as kinema
from kinema.errors import KinemaError
from kinema.layouts import DavisLayout

NETWORK = {
    "encoder.width": 96, "encoder.depth": 6, "encoder.num-heads": 3, "encoder.patch-size": 8, "encoder.image-size": 64,
    "crop-size": 64, "head.hidden": 256, "head.bottleneck": 64, "head.prototypes": 256,
}  # fmt: skip
VARIANTS: dict[str, dict[str, object]] = {
    "all four losses": {},
    "without global to global": {"global-to-global": 0.0},
    "without local to global": {"local-to-global": 0.0},
    "without masked tokens": {"masked-tokens": 0.0},
    "without consistency": {"consistency": 0.0},
    "consistency of features, not affinities": {"consistency-of": "feature"},
    "class tokens within frames, not across": {"global-to-global": 0.0, "pairing": "same_frame"},
}
SCORES = ("J&F-Mean", "J-Seen", "F-Seen", "J-Unseen", "F-Unseen")


def main() -> int:
    """Runs what is missing and writes the table; 0 where every command succeeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("ablation"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--clips", type=int, default=16, help="to render; the last quarter is held out")
    arguments = parser.parse_args()
    return terminal.run(lambda: _ablate(arguments), debug=False)


def _ablate(arguments: argparse.Namespace) -> None:
    out: Path = arguments.out
    out.mkdir(exist_ok=True)
    if not (out / "set").exists():
        size = ["--height", 160, "--width", 284]
        _run("synth", "--out", out / "set", "--clips", arguments.clips, "--layouts", "davis", "youtube_vos", *size)
    layout = DavisLayout(out / "set" / "davis")
    training = out / "train.txt"
    training.write_text("".join(f"{layout.frames_dir(name).relative_to(out)}\n" for name in layout.sequences("train")))
    rows = [json.loads(line) for line in _rows_file(out).read_text().splitlines()] if _rows_file(out).exists() else []
    done = {(row["variant"], row["seed"]) for row in rows}
    for seed in arguments.seeds:
        for number, name in enumerate(["untrained", *VARIANTS]):
            if (name, seed) not in done:
                run = out / f"run-{seed}-{number}"
                rows.append(_row(name, seed, run, out, arguments.steps))
                with _rows_file(out).open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    (out / "table.md").write_text(_table(rows))
    print(_table(rows))
    _plot(rows, out / "ablation.png")


def _row(name: str, seed: int, run: Path, out: Path, steps: int) -> dict:
    row = {"variant": name, "seed": seed, "steps": 0 if name == "untrained" else steps}
    if name == "untrained":
        source = f"untrained:{out / f'run-{seed}-1'}@{seed}"  # the network of the first variant, before its training
        _train({}, seed, out / f"run-{seed}-1", out, steps)
    else:
        _train(VARIANTS[name], seed, run, out, steps)
        source, last = str(run), json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
        row |= {"cpu_s": last["cpu_s"], "loss": last["loss"], "class_prototypes": last.get("terms/class_prototypes")}
    results = run.with_name(f"results-{run.name}")
    _run(
        *("benchmark", "ytvos", "--root", out / "set" / "youtube_vos", "--weights", source, "--out", results),
        *("--protocol", "ino_ytvos", "--features.layer", 4, "--features.precision", "auto", "--unseen", "figure"),
    )
    return row | json.loads((results / "result.json").read_text())["summary"]


def _train(changes: dict[str, object], seed: int, run: Path, out: Path, steps: int) -> None:
    method = {f"--method.{name}": value for name, value in {**NETWORK, **changes}.items()}
    train = {"steps": steps, "warmup-steps": steps // 10, "batch-size": 8, "base-lr": 3e-2, "seed": seed}
    data = {"local-crops.count": 2, "local-crops.size": 32, "transform.scale": (0.1, 0.5), "num-workers": 1}
    named = method | {f"--train.{name}": value for name, value in train.items()}
    named |= {f"--data.{name}": value for name, value in data.items()}
    options = [
        part for name, value in named.items() for part in (name, *(value if isinstance(value, tuple) else [value]))
    ]
    _run("pretrain", "ino_vitt16_cpu", "--data", out / "train.txt", "--out", run, *options)


def _run(*words: object) -> None:
    command = [str(word) for word in words]
    print("$ kinema", " ".join(command), flush=True)
    if code := kinema(command):
        raise KinemaError(f"the command above ended with {code}", fix="put right what it says")


def _rows_file(out: Path) -> Path:
    return out / "rows.jsonl"


def _means(rows: list[dict]) -> dict[str, list[dict]]:
    return {name: [row for row in rows if row["variant"] == name] for name in ["untrained", *VARIANTS]}


def _table(rows: list[dict]) -> str:
    lines = [f"| losses | overall | {' | '.join(SCORES[1:])} |", "|---" * (1 + len(SCORES)) + "|"]
    for name, own in _means(rows).items():
        if own:
            scores = " | ".join(f"{100 * fmean(row[score] for row in own):.1f}" for score in SCORES)
            lines.append(f"| {name} | {scores} |")
    return "\n".join(lines) + "\n"


def _plot(rows: list[dict], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots()
    named = [(name, own) for name, own in _means(rows).items() if own]
    for place, (_, own) in enumerate(named):
        axes.barh(place, 100 * fmean(row["J&F-Mean"] for row in own), color="0.75" if place == 0 else "C0")
        axes.plot([100 * row["J&F-Mean"] for row in own], [place] * len(own), "k.", markersize=4)
    axes.set_yticks(range(len(named)), [name for name, _ in named])
    axes.invert_yaxis()
    lowest = min(row["J&F-Mean"] for row in rows)
    axes.set_xlim(left=max(100 * lowest - 5, 0))
    axes.set_xlabel("overall J&F on synthetic YouTube-VOS, ino_ytvos (per cent)")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
