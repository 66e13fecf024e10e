"""The page of a run describes it in any state and shows only what was measured."""

import html
import json
import re
from pathlib import Path

import pytest

from kinema.errors import DatasetError
from kinema.runs.run_folder import open_run_folder
from kinema.tools.report import run_report as module
from kinema.tools.report.run_files import read_run
from kinema.tools.report.run_report import build_run_page, write_report
from tests.runs.runs import write_run


def read_text(page: str) -> str:
    """Returns the words of a page, without markup and embedded files."""
    without = re.sub(r"<style>.*?</style>|<svg.*?</svg>", " ", page, flags=re.S)
    plain = re.sub(r"<[^>]*>", " ", without.replace("<wbr>", ""))
    return re.sub(r"\s+", " ", html.unescape(plain))


def test_words_of_the_page(tmp_path: Path) -> None:
    words = read_text(write_report(write_run(tmp_path / "my <run>")).read_text())
    for part in (
        "my <run> pre-training with recipe siammae_demo: 400 of 400 steps, finished",
        "J&F 60.0 % from 52.5 %",
        "Clips seen 12,800 of 18 files",
        "Training time 6 min 40 s 32 clips a second",  # 400 steps of 32 clips at 32 clips/s
        "Processor time 10 min ",
        "of it waiting for data 5.0 %",
        "train.steps 400 650",
        "1 of 18 files could not be read",
        "my clips/<b>broken</b>.mp4 no video stream in it 3",
        "kinema pretrain siammae_demo --data 'my clips/' --out",
        "torch 2.13.0",
        "encoder.patch_size 8",
    ):
        assert part in words, part


def test_charts_of_measured_values_only(tmp_path: Path) -> None:
    page = build_run_page(read_run(write_run(tmp_path / "run")))
    titles = re.findall(r"<h3>([^<]*)", page)
    expected = ["Loss", "Label propagation on DAVIS ", "Learning rate", "Gradient norm", "Speed ", "Time of a clip "]
    assert titles == [*expected, "Waiting for data "]  # one term that is the loss has no chart of its own
    assert "collate" not in page.partition("Time of a clip")[2].partition("</figure>")[0]
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 400, "terms/pixel": 3, "terms/contrast": 2, "knn/top1": 0.5}) + "\n")
    titles = re.findall(r"<h3>([^<]*)", build_run_page(read_run(tmp_path / "run")))
    assert {"Terms of the loss", "knn/top1"} <= set(titles)


def test_a_run_that_has_just_begun_or_was_killed(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", last=40)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 42, "los')  # cut short by a kill
    words = read_text(write_report(run).read_text())
    assert "40 of 400 steps, not finished: running, or stopped" in words
    for name in ("metrics.jsonl", "skipped.jsonl"):
        (run / name).unlink()
    words = read_text(write_report(run).read_text())
    assert "0 of 400 steps" in words
    assert "Skipped files None: all of the 18 files that were drawn could be read." in words
    assert "Curves" not in words


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first
    assert sorted(path.name for path in run.iterdir() if "report" in path.name) == ["report.html"]


def test_films_are_bounded_and_omissions_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run")
    page = build_run_page(read_run(run))
    assert page.count("<video") == 5
    assert page.count('name="film"') == 4  # a button for each step
    assert "carried through a sequence of DAVIS, step 400" in page
    monkeypatch.setattr(module, "MOST_FILM_BYTES", 100)
    page = build_run_page(read_run(run))
    assert "<video" not in page
    assert re.search(r"left in pictures/: davis-step-00000100\.mp4 \(0\.\d MB\), .*, pca\.mp4 \(0\.\d MB\)", page)


def test_a_damaged_picture_is_named_in_its_place(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    damaged = run / "pictures" / "step-00000400.png"
    damaged.write_bytes(damaged.read_bytes()[:500])
    (run / "pictures" / "pca.png").write_bytes(b"")
    page = build_run_page(read_run(run))
    assert page.count("<img") == 3
    assert "step-00000400.png cannot be read as a picture." in page
    assert "pca.png cannot be read as a picture." in page


def test_many_skipped_files_are_counted(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    rows = [{"path": f"clip-{number}", "reason": "x", "count": 1} for number in range(130)]
    (run / "skipped.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = read_text(build_run_page(read_run(run)))
    assert "clip-99 " in words
    assert "clip-100 " not in words
    assert "30 more are named in skipped.jsonl" in words


def test_a_fine_tuning_shows_its_result(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    described = json.loads((run / "recipe.json").read_text())
    (run / "recipe.json").write_text(json.dumps({**described, "recipe": "finetune_cpu"}))
    summary = {"top1": 0.75, "top5": 1.0, "mean_class": 0.7, "cross_entropy": 0.81}
    result = {"summary": summary, "test_files": 18, "unreadable": [["a.mp4", "broken"]]}
    (run / "result.json").write_text(json.dumps(result))
    words = read_text(build_run_page(read_run(run)))
    assert "fine-tuning with recipe finetune_cpu" in words
    assert "top1 75.0 % top5 100.0 % mean_class 70.0 % cross_entropy 0.81 18 test files, 1 unreadable." in words


def test_a_run_of_another_version_is_still_shown(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    described = json.loads((run / "recipe.json").read_text())
    described["settings"]["train"]["new_option"] = 3
    (run / "recipe.json").write_text(json.dumps({**described, "recipe": "gone", "command": None, "versions": None}))
    words = read_text(build_run_page(read_run(run)))
    assert "recipe gone: 400 steps, not finished" in words
    assert "new_option 3" in words


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("recipe.json", "{", "cannot be read"),
        ("recipe.json", "[]", "not a JSON object, as a run writes it"),
        ("recipe.json", "{}", "describes no run"),
        ("metrics.jsonl", "{}}\n{}", "cannot be read"),
        ("result.json", "3", "not a JSON object, as a run writes it"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, file: str, content: str, words: str) -> None:
    run = write_run(tmp_path / "run")
    (run / file).write_text(content)
    with pytest.raises(DatasetError, match=f"{words}.*{file}" if "describes" not in words else words):
        read_run(run)
    (run / "recipe.json").unlink()
    with pytest.raises(DatasetError, match=r"no recipe\.json there"):
        write_report(run)


def test_starting_over_removes_the_page(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    write_report(run)
    open_run_folder(run, {"recipe": "x"}, runs_on={"device": "cpu", "precision": "fp32"}, fresh=True)
    assert not (run / "report.html").exists()
