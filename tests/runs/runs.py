"""A run's folder written by hand: everything that a page can show, in a moment."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from PIL import Image

from kinema.recipes.registry import RECIPES
from kinema.video.writer import write_video

STEPS = 400


def write_run(folder: Path, *, last: int = STEPS) -> Path:
    """As `kinema pretrain siammae_demo --train.steps 400` leaves it after `last` steps, without weights."""
    folder.mkdir(parents=True)
    demo = RECIPES["siammae_demo"]()
    recipe = replace(demo, train=replace(demo.train, steps=STEPS, warmup_steps=40))
    described = {
        "recipe": "siammae_demo",
        "settings": json.loads(json.dumps(asdict(recipe))),
        "files": {"count": 18, "hash": "00"},
        "init_from": None,
        "runs_on": {"device": "cpu", "precision": "bf16"},
        "command": ["/somewhere/bin/kinema", "pretrain", "siammae_demo", "--data", "my clips/", "--out", str(folder)],
        "versions": {"kinema": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
    }
    (folder / "recipe.json").write_text(json.dumps(described))
    rows = []
    for step in range(2, last + 1, 2):
        loss = 0.6 + math.exp(-step / 60) + 0.05 * math.sin(step)
        rows.append(
            {"step": step, "loss": loss, "terms/pixel": loss, "grad_norm": 2 / step, "lr": 1e-3 * step / STEPS}
            | {"clips_per_s": 32.0, "wait_share": 0.05, "stage_ms/decode": 6.0, "stage_ms/compute": 40.0}
            | {"stage_ms/collate": 0.01, "cpu_s": 1.5 * step}
        )
        if step % 100 == 0:
            rows.append({"step": step, "held_out/loss": loss + 0.05, "cpu_s": 1.5 * step})
            rows.append({"step": step, "davis/J&F-Mean": 0.5 + step / 4000, "davis/J-Mean": 0.4, "davis/F-Mean": 0.6})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    skipped = {"path": "my clips/<b>broken</b>.mp4", "reason": "no video stream in it", "count": 3}
    (folder / "skipped.jsonl").write_text(json.dumps(skipped) + "\n")
    (folder / "pictures").mkdir()
    draw = np.random.default_rng(0)
    for step in range(100, last + 1, 100):
        sheet = draw.integers(0, 256, (10, 43, 3), dtype=np.uint8).repeat(20, axis=0).repeat(20, axis=1)
        Image.fromarray(sheet).save(folder / "pictures" / f"step-{step:08d}.png")
        film = draw.integers(0, 256, (5, 40, 60, 3), dtype=np.uint8)
        write_video(folder / "pictures" / f"davis-step-{step:08d}.mp4", film, 5)
    Image.fromarray(draw.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(folder / "pictures" / "pca.png")
    write_video(folder / "pictures" / "pca.mp4", draw.integers(0, 256, (5, 40, 60, 3), dtype=np.uint8), 5)
    return folder
