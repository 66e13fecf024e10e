"""What a skeptical user tries on any command: one clear line, the right exit code, nothing half-written."""

import errno
import os
from pathlib import Path

import pytest

from kinema.cli.terminal import run
from tests.cli.conftest import TINY, Command, files_in


def test_cuda_where_there_is_none(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    mask, weights = inputs / "mask.png", inputs / "weights"
    commands = [
        ("pretrain", "siammae_smoke", "--data", inputs / "clips"),
        ("propagate", inputs / "video.mp4", "--labels", mask, "--weights", weights),
        ("benchmark", "davis", "--root", inputs / "davis", "--weights", weights),
    ]
    for command in commands:
        kinema(*command, "--out", tmp_path / "out", "--device", "cuda").require_error(2, "no device 'cuda'")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pretrain", "siammae_smok", "--data", "x"], "did you mean 'siammae_smoke'?"),
        (["pretrain"], "no recipe given"),
        (["pretrain", "--data", "x"], "no recipe given"),
        (["recipes", "siammae_vits17"], "did you mean 'siammae_vits1"),
        (["pretrian", "siammae_smoke"], "did you mean 'pretrain'?"),
        (["propagate", "v.mp4", "--protocol", "dino_480"], "did you mean 'dino_480p'?"),
        (["benchmark", "davis", "--protocol=dino_480"], "did you mean 'dino_480p'?"),
    ],
)
def test_names_that_do_not_exist(kinema: Command, words: list[str], said: str) -> None:
    kinema(*words).require_error(2, said)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["pretrain", "siammae_smoke", "--data", "x", "--out", "y", "--train.stpes", "3"], "--train.steps"),
        (["propagate", "v", "--labels", "l", "--weights", "w", "--out", "o", "--propagaton.top-k", "3"], "top-k"),
        (["synth", "--out", "o", "--clip", "3"], "--clips"),
        (["score", "davis", "--root", "r", "--result", "p"], "--results"),
        (["benchmark", "davis", "--root", "r", "--weights", "w", "--out", "o", "--sequence", "a"], "--sequences"),
    ],
)
def test_misspelt_options(kinema: Command, words: list[str], meant: str) -> None:
    kinema(*words).require_error(2, "nrecognized options", meant)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("synth --out o --clip 3", "unrecognized options: --clip, 3 (kinema synth): did you mean '--clips'? `kinema"),
        ("synth --clip 3", "missing --out PATH; unrecognized options: --clip, 3 (kinema synth): `kinema synth --help`"),
        ("score davis", "missing --root PATH, --results PATH (kinema score)"),
        ("synth --out", "missing value for argument '--out'"),
        ("synth --out o --clips many", "--clips: invalid literal for int() with base 10: 'many' (kinema synth)"),
        (f"synth --out o --clips {'a' * 150}", f"'{'a' * 150}' (kinema synth)"),
        (
            "pretrain siammae_smoke --data x --out y --train.steps abc",
            "--train.steps takes None or INT, not 'abc' (kinema pretrain siammae_smoke)",
        ),
        ("probe 3nn", "invalid choice '3nn' for argument 'kind'. Expected one of ('knn', 'linear', 'attentive') ("),
        ("synth --out o --clps 3 --sed 4", "did you mean '--clips', '--seed'?"),
    ],
)
def test_wrong_options_are_one_line(kinema: Command, words: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("FORCE_COLOR", "1")
    done = kinema(*words.split())
    done.require_error(2, said)
    assert len(done.err.splitlines()) == 1
    assert os.environ["COLUMNS"] == "60"
    debugged = kinema(*words.split(), "--debug")
    assert debugged.code == 2
    assert "Traceback (most recent call last)" in debugged.err
    assert debugged.err.splitlines()[-1] == done.err.splitlines()[-1]


@pytest.mark.parametrize("out", ["file", "file/run", "file/deeper/run"])
def test_a_file_in_the_way_of_the_output(kinema: Command, inputs: Path, out: str) -> None:
    mask, weights = inputs / "mask.png", inputs / "weights"
    commands = [
        ("pretrain", "siammae_smoke", "--data", inputs / "clips", *TINY),
        ("propagate", inputs / "video.mp4", "--labels", mask, "--weights", weights),
        ("benchmark", "davis", "--root", inputs / "davis", "--weights", weights),
        ("synth", "--clips", 1, "--num-frames", 1),
    ]
    for command in commands:
        kinema(*command, "--out", inputs / out).require_error(2, str(inputs / out))
    assert (inputs / "file").read_text() == "in the way\n"


def test_an_output_folder_that_is_not_empty(kinema: Command, inputs: Path) -> None:
    mask, weights, out = inputs / "mask.png", inputs / "weights", inputs / "not_empty"
    commands = [
        ("pretrain", "siammae_smoke", "--data", inputs / "clips", *TINY),
        ("pretrain", "siammae_smoke", "--data", inputs / "clips", *TINY, "--fresh"),
        ("propagate", inputs / "video.mp4", "--labels", mask, "--weights", weights),
        ("benchmark", "davis", "--root", inputs / "davis", "--weights", weights),
        ("synth", "--clips", 1, "--num-frames", 1),
    ]
    for command in commands:
        kinema(*command, "--out", out).require_error(2, "not empty")
    assert files_in(out) == ["thing"]


def test_weights_that_cannot_be_used(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    bad = tmp_path / "weights.pth"
    bad.write_bytes(b"PK\x03\x04 anything")
    commands = [
        ("pretrain", "siammae_smoke", "--data", inputs / "clips", *TINY, "--init-from"),
        ("propagate", inputs / "video.mp4", "--labels", inputs / "mask.png", "--weights"),
        ("benchmark", "davis", "--root", inputs / "davis", "--weights"),
    ]
    for command in commands:
        kinema(*command, bad, "--out", tmp_path / "out").require_error(4, str(bad))
    assert not (tmp_path / "out").exists()


def test_faults_of_the_system_say_whether_they_met_an_input(inputs: Path, tmp_path: Path) -> None:
    def refused(path: Path) -> int:
        def command() -> None:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        return run(command, debug=False)

    assert refused(inputs / "video.mp4") == 3
    assert refused(tmp_path / "out") == 2


@pytest.mark.parametrize(
    "command",
    ["propagate {} --labels a.png --out o", "pretrain siammae_smoke --data {} --out o", "features {} --out o"],
)
def test_a_file_name_that_begins_with_a_dash_is_explained(
    kinema: Command, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-a1.mp4").write_bytes(b"")
    kinema(*command.format("-a1.mp4").split()).require_error(2, "write ./-a1.mp4 for the file of that name")
    assert "./" not in kinema(*command.format("-a2.mp4").split()).err


@pytest.mark.parametrize(
    ("url", "fix"),
    [
        ("https://example.com/a.mp4", "download it first"),
        ("s3://bucket/a.mp4", "download it first"),
        ("file:///data/a.mp4", "give the path: /data/a.mp4"),
    ],
)
def test_a_url_in_place_of_a_path_is_named_as_it_was_written(kinema: Command, url: str, fix: str) -> None:
    kinema("propagate", url, "--labels", "a.png", "--out", "o").require_error(2, f"{url} is a URL", fix)
    kinema("propagate", "a.mp4", "--labels", url, "--out", "o").require_error(2, f"{url} is a URL", fix)
    kinema("visualize", "masks", url, "--out", "o", "--recipe", "mae_smoke").require_error(2, f"{url} is a URL", fix)
