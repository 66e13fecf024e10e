"""Class of a video or image from frozen features: k-NN, linear and attentive probes, with all that the number means."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Integer

from kinema.benchmark.result import collect_versions
from kinema.datasets.actions import LabeledSet, check_classes, read_labeled
from kinema.datasets.low_shot import only_listed, share_of_each_class
from kinema.features import FeatureExtractor, WeightsSource
from kinema.files import write_json
from kinema.labeling.results import open_output_folder
from kinema.metrics.classification import accuracy, cross_entropy, merge_views
from kinema.transfer.clips import ClipFeatures, extract
from kinema.transfer.probe import check_neighbors, compute_knn_scores, train_probe
from kinema.transfer.probe_config import ClipReading, KNNConfig, ProbeConfig

ProbeKind = Literal["knn", "linear", "attentive"]
Report = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class LabeledData:
    """Which labeled files to learn from, and which to test on."""

    dataset: str
    """One of `datasets.actions.READERS`."""
    root: Path
    train: str = "train"
    test: str = "test"
    fold: int = 1
    train_list: Path | None = None
    """Names the training files to learn from, a line each; without it, all of them."""
    train_share: float = 1.0
    """Share of each class's training files to learn from, in (0, 1]."""

    def read(self) -> tuple[LabeledSet, LabeledSet]:
        """The training and the test set. DatasetError where they do not belong together."""
        train, test = (
            read_labeled(self.dataset, self.root, split, fold=self.fold) for split in (self.train, self.test)
        )
        if self.train_list is not None:
            train = only_listed(train, self.train_list)
        if self.train_share != 1:
            train = share_of_each_class(train, self.train_share)
        check_classes(train, test)
        return train, test

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        listed = None if self.train_list is None else str(self.train_list)
        return {**asdict(self), "root": str(self.root), "train_list": listed}


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """Accuracies with all they depend on."""

    probe: ProbeKind
    data: dict[str, Any]
    summary: dict[str, float]
    """Means over seeds of top1, top5, mean_class (in [0, 1]) and cross_entropy (nats); top1_std is their spread."""
    rows: list[dict[str, Any]]
    """One a seed."""
    classes: int
    train_files: int
    test_files: int
    unreadable: list[tuple[str, str]]
    """(path, reason) of files that are in no number."""
    reading: ClipReading
    settings: dict[str, Any]
    weights: WeightsSource

    def as_json(self) -> dict[str, Any]:
        """The result as plain values, as written to `result.json`."""
        return {**asdict(self), "versions": collect_versions()}


def probe(
    kind: ProbeKind,
    data: LabeledData,
    extractor: FeatureExtractor,
    out: Path,
    *,
    reading: ClipReading,
    knn: KNNConfig,
    training: ProbeConfig,
    num_seeds: int = 5,
    num_workers: int = 1,
    report: Report = lambda *_: None,
) -> ProbeResult:
    """The accuracy of one probe on features of `extractor`; `out` gets `result.json` and the features it was made from.

    Several views of a test video are merged by averaging their class probabilities; each view of a training video is a
    sample. k-NN has no seed, and one row.
    """
    train, test = data.read()
    if kind == "knn":
        check_neighbors(knn.k, len(train.files) * reading.num_views)
    with open_output_folder(out), _removed_where_it_fails(out / "features"):
        read = [
            extract(
                labeled,
                extractor,
                reading,
                out / "features" / f"{name}.npy",
                keep_tokens=kind == "attentive",
                num_workers=num_workers,
                report=report,
            )
            for name, labeled in (("train", train), ("test", test))
        ]
        rows = compute_probe_rows(
            kind,
            read[0],
            read[1],
            num_classes=len(train.class_names),
            knn=knn,
            training=training,
            num_seeds=num_seeds,
        )
        result = ProbeResult(
            probe=kind,
            data=data.as_json(),
            summary=summarize_rows(rows),
            rows=rows,
            classes=len(train.class_names),
            train_files=len(read[0].paths),
            test_files=len(read[1].paths),
            unreadable=[*read[0].unreadable, *read[1].unreadable],
            reading=reading,
            settings=asdict(knn if kind == "knn" else training),
            weights=extractor.source,
        )
        write_json(out / "result.json", result.as_json())
    return result


@contextmanager
def _removed_where_it_fails(folder: Path) -> Iterator[None]:
    """A context after which the folder is gone where something failed, or was interrupted: half of it is of no use."""
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def compute_probe_rows(
    kind: ProbeKind,
    train: ClipFeatures,
    test: ClipFeatures,
    *,
    num_classes: int,
    knn: KNNConfig,
    training: ProbeConfig,
    num_seeds: int,
) -> list[dict[str, Any]]:
    """The scores of one probe on features that are there, a row a seed; k-NN has no seed, and one row."""
    num_views = train.tokens.shape[1]
    samples, labels = train.tokens.flatten(0, 1), train.labels.repeat_interleave(num_views)
    queries = test.tokens.flatten(0, 1)
    if kind == "knn":
        scores = compute_knn_scores(
            queries[:, 0], samples[:, 0], labels, num_classes=num_classes, k=knn.k, temperature=knn.temperature
        )
        shares = scores.unflatten(0, (len(test.labels), -1)).mean(dim=1)  # of the votes: no logits, so no softmax
        return [compute_scores(shares.double().numpy(), test.labels.numpy())]
    video_ids = np.arange(len(test.labels)).repeat(test.tokens.shape[1])
    rows = []
    for seed in range(num_seeds):
        from_seed = replace(training, seed=training.seed + seed)
        trained = train_probe(samples, labels, kind, num_classes=num_classes, config=from_seed)
        chosen = {"seed": from_seed.seed, "learning_rate": trained.learning_rate}
        merged = merge_views(trained.score(queries).numpy(), video_ids)
        rows.append({**chosen, **compute_scores(merged, test.labels.numpy())})
    return rows


def compute_scores(probabilities: Float[np.ndarray, "N K"], labels: Integer[np.ndarray, " N"]) -> dict[str, float]:
    """top1, top5, mean_class (in [0, 1]) and cross_entropy (nats) of the class probabilities of N videos."""
    return {**accuracy(probabilities, labels), "cross_entropy": cross_entropy(probabilities, labels)}


def summarize_rows(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The means of every score over the rows, and `top1_std`."""
    names = [name for name in rows[0] if name not in ("seed", "learning_rate")]
    summary = {name: float(np.mean([row[name] for row in rows])) for name in names}
    return {**summary, "top1_std": float(np.std([row["top1"] for row in rows]))}
