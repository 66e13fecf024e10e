from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.labeling.small import write_davis


@pytest.fixture(scope="module")
def davis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_davis(tmp_path_factory.mktemp("data") / "set").root


def asked(davis: Path, out: Path) -> tuple[object, ...]:
    return (
        *("siammae", "--data", davis / "JPEGImages", "--out", out, "--recipe", "siammae_smoke", "--steps", 2),
        *("--evaluate.davis", davis, "--evaluate.short-side", 48, "--questions", "target", "--num-workers", 0),
    )


def test_a_study_prints_its_table_and_its_sentence(kinema: Command, davis: Path, tmp_path: Path) -> None:
    planned = kinema("ablate", *asked(davis, tmp_path), "--dry-run", "--json")
    assert [run["arms"] for run in planned.answer["runs"]] == [["target: normalized"], ["target: raw pixels"]]
    assert not (tmp_path / "runs").exists()
    done = kinema("ablate", *asked(davis, tmp_path))
    assert done.code == 0, done.err
    assert "| raw pixels |" in done.out
    assert "No published order" in done.out
    again = kinema("ablate", *asked(davis, tmp_path), "--json")
    assert again.answer["questions"][0]["name"] == "target"
    assert "2 networks, 2 of them trained; 0 trainings left" in again.err


def test_bad_requests_are_one_line(kinema: Command, davis: Path, tmp_path: Path) -> None:
    kinema("ablate").require_error(2, "no study named")
    kinema("ablate", "siamae").require_error(2, "did you mean 'siammae'")
    given = asked(davis, tmp_path)
    kinema("ablate", *given, "--questions", "taget").require_error(2, "did you mean 'target'")
    kinema("ablate", *given, "--evaluate.davis", tmp_path).require_error(3, str(tmp_path))
    kinema("ablate", *given[:-8], "--num-workers", 0).require_error(2, "nothing to measure")
    kinema("ablate", *given, "--data", tmp_path / "none").require_error(3, "none")
    assert "studies:" in kinema("ablate", "--help").out
