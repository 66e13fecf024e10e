"""Published results of label propagation, to stand beside what is measured here. Free of torch.

Values are those that the sources print. Where a source takes a number from another paper, the row says so; a number
known from memory alone is not here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from kinema.protocols.registry import NOT_STATED, Benchmark

_K400, _IN, _UNSTATED = "Kinetics-400", "ImageNet", "not stated"
_SIAMMAE = "SiamMAE (arXiv:2305.14344), table 1"
_QUOTED = f"{_SIAMMAE}, taken there from earlier papers"
_SEARCHED = f"{_SIAMMAE}, settings searched there for each method"
_TOBO = "ToBo's paper, which searched settings for each method"
_COSETTLE = "Co-Settle's paper"
_TCORE = "T-CORE, README; its evaluation is CropMAE's"
_DINO = "DINO (arXiv:2104.14294), table 5"
_DINOV3 = "DINOv3 (arXiv:2508.10104), table 5"
_CARD = "DINOv3, model card; its value for 7B is that of the paper's table 5 at size M"
_VJEPA = "V-JEPA 2.1's paper, table 8"
_PE = "Perception Encoder, README: DINO's script"
_NOTE = "a third party's notes on the paper"


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """One number of one paper."""

    method: str
    backbone: str
    data: str
    """What it was trained on."""
    benchmark: Benchmark
    metric: str
    """As the summary of a result names it: `J&F-Mean`, `J-Mean`, `F-Mean`, `mIoU`, `PCK@0.1`, ..."""
    value: float
    """In percent."""
    protocol: str
    """A name that `get_protocol` knows, or `NOT_STATED`."""
    source: str


def published_rows(benchmark: Benchmark) -> tuple[PublishedRow, ...]:
    """The rows of one data set, in the order of the sources: SiamMAE's 13 methods, then later ones.

    A protocol is named only where the source is known to have used it.
    """
    return tuple(row for row in _ROWS if row.benchmark == benchmark)


_Entry = tuple[str, str, str, str, str, str]
"""Method, backbone, data, protocol, source, and the numbers of `_COLUMNS`: `-` for none, nothing for no more."""
_COLUMNS: tuple[tuple[Benchmark, str], ...] = (
    ("davis", "J&F-Mean"),
    ("davis", "J-Mean"),
    ("davis", "F-Mean"),
    ("vip", "mIoU"),
    ("jhmdb", "PCK@0.1"),
    ("jhmdb", "PCK@0.2"),
    ("ytvos", "J&F-Mean"),
)
_ENTRIES: tuple[_Entry, ...] = (
    ("Supervised", "ResNet-50", _IN, NOT_STATED, _QUOTED, "66.0 63.7 68.4 39.5 59.2 78.3"),
    ("SimSiam", "ResNet-50", _IN, NOT_STATED, _QUOTED, "66.3 64.5 68.2 35.0 58.4 77.5"),
    ("MoCo", "ResNet-50", _IN, NOT_STATED, _QUOTED, "65.4 63.2 67.6 36.1 60.4 79.3"),
    ("TimeCycle", "ResNet-50", "VLOG", NOT_STATED, _QUOTED, "40.7 41.9 39.4 28.9 57.7 78.5"),
    ("UVC", "ResNet-50", _K400, NOT_STATED, _QUOTED, "56.3 54.5 58.1 34.2 56.0 76.6"),
    ("VFS", "ResNet-50", _K400, NOT_STATED, _QUOTED, "68.9 66.5 71.3 43.2 60.9 80.7"),
    ("MAE-ST", "ViT-L/16", _K400, NOT_STATED, _SEARCHED, "54.6 55.5 53.6 33.2 44.4 72.5"),
    ("MAE", "ViT-B/16", _IN, NOT_STATED, _SEARCHED, "53.5 52.1 55.0 28.1 44.6 73.4"),
    ("VideoMAE", "ViT-S/16", _K400, NOT_STATED, _SEARCHED, "39.3 39.7 38.9 23.3 41.0 67.9"),
    ("DINO", "ViT-S/16", _IN, NOT_STATED, _SEARCHED, "61.8 60.2 63.4 36.2 45.6 75.0"),
    ("SiamMAE", "ViT-S/16", _K400, "siammae", _SIAMMAE, "62.0 60.3 63.7 37.3 47.0 76.1"),
    ("DINO", "ViT-S/8", _IN, NOT_STATED, _SEARCHED, "69.9 66.6 73.1 39.5 56.5 80.3"),
    ("SiamMAE", "ViT-S/8", _K400, "siammae", _SIAMMAE, "71.4 68.4 74.5 45.9 61.9 83.8"),
    ("CRW", "ResNet-18", _K400, "crw", "CRW, README: the released weights", "67.6 64.6 70.6"),
    ("VFS", "ResNet-50", _K400, "vfs", "VFS, README: the released weights", "69.5 67.0 72.0"),
    ("DUL", "ResNet-18", "YouTube-VOS", "dul", "DUL, README", "69.3"),
    ("DUL", "ResNet-18", "TrackingNet", "dul", "DUL, README", "69.4"),
    ("DUL", "ResNet-18", _K400, "dul", "DUL, README", "68.7"),
    ("DUL", "ResNet-18", "OxUvA", "dul", "DUL, README", "65.3"),
    ("HVC", "ResNet", "COCO or YouTube-VOS", NOT_STATED, "HVC, README", "73.1 - - 44.6 61.7 82.8"),
    (
        "Spa-then-Temp",
        "ResNet-18",
        _UNSTATED,
        NOT_STATED,
        "Spa-then-Temp, README; counts frame 0 on JHMDB",
        "70.7 - - 40.9 63.5 83.1",
    ),
    (
        "Spa-then-Temp",
        "ResNet-50, stride 4",
        _UNSTATED,
        NOT_STATED,
        "Spa-then-Temp, README; counts frame 0 on JHMDB",
        "74.1 - - 42.8 66.4 84.4",
    ),
    ("DINO", "ViT-S/16", _IN, "dino_480p", _DINO, "61.8"),
    ("DINO", "ViT-B/16", _IN, "dino_480p", _DINO, "62.3"),
    ("DINO", "ViT-S/8", _IN, "dino_480p", _DINO, "69.9"),
    ("DINO", "ViT-B/8", _IN, "dino_480p", _DINO, "71.4"),
    ("PE-Spatial", "T", _UNSTATED, "dino_480p", _PE, "55.0"),
    ("PE-Spatial", "S", _UNSTATED, "dino_480p", _PE, "57.5"),
    ("PE-Spatial", "B", _UNSTATED, "dino_480p", _PE, "58.9"),
    ("PE-Spatial", "L", _UNSTATED, "dino_480p", _PE, "60.6"),
    ("PE-Spatial", "G", _UNSTATED, "dino_480p", _PE, "61.5"),
    ("SimCLR", "ViT-S/16", _K400, NOT_STATED, _TOBO, "53.9 - - 31.9 37.9"),
    ("MoCo v3", "ViT-S/16", _K400, NOT_STATED, _TOBO, "57.7 - - 32.4 38.4"),
    ("DINO", "ViT-S/16", _K400, NOT_STATED, _TOBO, "59.5 - - 33.4 41.1"),
    ("MAE", "ViT-S/16", _K400, NOT_STATED, _TOBO, "53.5 - - 32.5 43.0"),
    (
        "SiamMAE, 400 epochs",
        "ViT-S/16",
        _K400,
        NOT_STATED,
        f"{_TOBO}; quoted or run again",
        "58.1 56.6 59.6 33.3 44.7 73.0",
    ),
    ("CropMAE", "ViT-S/16", _IN, "cropmae_480x880", "CropMAE, README", "60.1 - - 33.2 43.5"),
    (
        "CropMAE",
        "ViT-S/16",
        _K400,
        "cropmae_480x880",
        "CropMAE, README; PCK@0.2 from ToBo's paper",
        "58.6 55.8 61.4 33.7 42.9 71.1",
    ),
    ("RSP", "ViT-S/16", _K400, NOT_STATED, _TOBO, "60.1 57.4 62.8 33.8 44.6 73.4"),
    ("ToBo", "ViT-S/16", _K400, NOT_STATED, _TOBO, "60.6 58.4 63.0 34.0 47.0 74.8"),
    ("CatMAE", "ViT-S/16", _K400, "catmae_s16", "CatMAE, README (ViRe)", "62.5"),
    ("CatMAE", "ViT-S/8", _K400, "catmae_s8", "CatMAE, README (ViRe)", "70.4"),
    ("T-CoRe", "ViT-S/16", _K400, "cropmae_480x880", _TCORE, "64.7 - - 37.8 47.0"),
    ("T-CoRe", "ViT-S/16", _IN, "cropmae_480x880", _TCORE, "64.1 - - 39.7 46.2"),
    ("T-CoRe", "ViT-B/16", _K400, "cropmae_480x880", _TCORE, "66.4 - - 38.9 47.1"),
    ("RSP", "ViT-B/16", _K400, NOT_STATED, _COSETTLE, "60.5 57.8 63.2 34.0 46.0 74.6"),
    ("SiamMAE, run again", "ViT-B/16", _K400, NOT_STATED, _COSETTLE, "60.9 59.4 62.4 36.1 47.0 74.9"),
    ("DropMAE", "ViT-B/16", _K400, NOT_STATED, _COSETTLE, "53.4 - - 31.1 42.3 69.2"),
    ("VideoMAE", "ViT-L/16", _K400, NOT_STATED, _COSETTLE, "45.0 - - 25.6 43.3 70.5"),
    ("MAE", "ViT-B/16", _IN, NOT_STATED, _COSETTLE, "52.4 - - 29.3 41.6"),
    ("MAE + Co-Settle", "ViT-B/16", f"{_IN}, {_K400}", NOT_STATED, _COSETTLE, "59.6 - - 33.8 48.4 76.7"),
    ("DINO", "ViT-B/16", _IN, NOT_STATED, _COSETTLE, "63.2 - - 39.1 44.4"),
    ("DINO + Co-Settle", "ViT-B/16", f"{_IN}, {_K400}", NOT_STATED, _COSETTLE, "64.2 - - 39.8 46.2"),
    ("iBOT", "ViT-B/16", _IN, NOT_STATED, _COSETTLE, "64.6 - - 39.6 45.7"),
    ("iBOT + Co-Settle", "ViT-B/16", f"{_IN}, {_K400}", NOT_STATED, _COSETTLE, "65.1 - - 40.8 46.1"),
    ("DINOv2, 100 epochs", "ViT-B/16", _IN, NOT_STATED, _COSETTLE, "63.1 - - 38.4 46.6"),
    ("DINOv2, 100 epochs + Co-Settle", "ViT-B/16", f"{_IN}, {_K400}", NOT_STATED, _COSETTLE, "63.7 - - 39.9 47.3"),
    ("TimeBridge", "ViT-S/8", _K400, NOT_STATED, f"{_NOTE}, and its abstract", "73.5 70.6 76.5 47.5 59.2"),
    ("RVM", "L, 375M", "web video", NOT_STATED, _NOTE, "66.0 - - 38.0"),
    ("RVM", "H, 743M", "web video", NOT_STATED, _NOTE, "65.6 - - 37.3"),
    ("DINOv2", "ViT-L/14", "LVD-142M", NOT_STATED, f"RVM's table, by {_NOTE}", "61.7 - - 40.6"),
    ("VideoMAE", "ViT-L/16", _UNSTATED, NOT_STATED, f"RVM's table, by {_NOTE}", "54.3 - - 18.9"),
    ("V-JEPA 2", "ViT-L/16", _UNSTATED, NOT_STATED, f"RVM's table, by {_NOTE}", "47.5 - - 17.2"),
    ("DINOv3", "ViT-S/16", "LVD-1689M", "dinov3_m", _CARD, "72.7"),
    ("DINOv3", "ViT-S+/16", "LVD-1689M", "dinov3_m", _CARD, "75.5"),
    ("DINOv3", "ViT-B/16", "LVD-1689M", "dinov3_m", _CARD, "77.2"),
    ("DINOv3", "ViT-L/16", "LVD-1689M", "dinov3_m", _CARD, "79.9"),
    ("DINOv3", "ViT-H+/16", "LVD-1689M", "dinov3_m", _CARD, "79.3"),
    ("DINOv3", "ViT-H+/16", "LVD-1689M", "dinov3_s", _VJEPA, "71.1 - - - - - 74.0"),
    ("V-JEPA 2.1", "ViT-G, 2B", _UNSTATED, "dinov3_s", _VJEPA, "69.0 - - - - - 72.7"),
    ("V-JEPA 2.1", "ViT-g, 1B", _UNSTATED, "dinov3_s", _VJEPA, "68.1 - - - - - 72.3"),
    ("V-JEPA 2", "ViT-g", _UNSTATED, "dinov3_s", _VJEPA, "52.5 - - - - - 53.7"),
    ("InternVideo2", "1B", _UNSTATED, "dinov3_s", _VJEPA, "50.6 - - - - - 51.2"),
    ("DINOv3", "ViT-7B/16", "LVD-1689M", "dinov3_s", _DINOV3, "71.1 - - - - - 74.1"),
    (
        "AM-RADIOv2.5",
        "ViT-g/14",
        "distilled, supervised teachers among them",
        "dinov3_s",
        _DINOV3,
        "66.5 - - - - - 70.1",
    ),
    ("DINOv2", "ViT-g/14", "LVD-142M", "dinov3_s", _DINOV3, "63.9 - - - - - 65.6"),
    ("PE-Spatial", "ViT-G/14", _UNSTATED, "dinov3_s", _DINOV3, "68.4"),
    ("Web-DINO", "ViT-7B/14", _UNSTATED, "dinov3_s", _DINOV3, "57.2"),
    ("Franca", "ViT-g/14", _UNSTATED, "dinov3_s", _DINOV3, "61.8"),
    ("SigLIP 2", "ViT-g/16", _UNSTATED, "dinov3_s", _DINOV3, "56.1"),
    ("DINOv3", "ViT-7B/16", "LVD-1689M", "dinov3_m", _DINOV3, "79.7 - - - - - 80.2"),
    (
        "AM-RADIOv2.5",
        "ViT-g/14",
        "distilled, supervised teachers among them",
        "dinov3_m",
        _DINOV3,
        "77.3 - - - - - 78.1",
    ),
    ("DINOv2", "ViT-g/14", "LVD-142M", "dinov3_m", _DINOV3, "73.6 - - - - - 73.5"),
    ("PE-Spatial", "ViT-G/14", _UNSTATED, "dinov3_m", _DINOV3, "74.5"),
    ("Web-DINO", "ViT-7B/14", _UNSTATED, "dinov3_m", _DINOV3, "65.8"),
    ("Franca", "ViT-g/14", _UNSTATED, "dinov3_m", _DINOV3, "66.9"),
    ("SigLIP 2", "ViT-g/16", _UNSTATED, "dinov3_m", _DINOV3, "62.3"),
    ("DINOv3", "ViT-7B/16", "LVD-1689M", "dinov3_l", _DINOV3, "83.3 - - - - - 80.7"),
    (
        "AM-RADIOv2.5",
        "ViT-g/14",
        "distilled, supervised teachers among them",
        "dinov3_l",
        _DINOV3,
        "81.4 - - - - - 79.2",
    ),
    ("DINOv2", "ViT-g/14", "LVD-142M", "dinov3_l", _DINOV3, "76.6 - - - - - 74.6"),
    ("PE-Spatial", "ViT-G/14", _UNSTATED, "dinov3_l", _DINOV3, "70.5"),
    ("Web-DINO", "ViT-7B/14", _UNSTATED, "dinov3_l", _DINOV3, "69.5"),
    ("Franca", "ViT-g/14", _UNSTATED, "dinov3_l", _DINOV3, "66.5"),
    ("SigLIP 2", "ViT-g/16", _UNSTATED, "dinov3_l", _DINOV3, "62.9"),
)


def _expanded(entries: tuple[_Entry, ...]) -> Iterator[PublishedRow]:
    for method, backbone, data, protocol, source, numbers in entries:
        for (benchmark, metric), number in zip(_COLUMNS, numbers.split(), strict=False):
            if number != "-":
                yield PublishedRow(
                    method=method,
                    backbone=backbone,
                    data=data,
                    benchmark=benchmark,
                    metric=metric,
                    value=float(number),
                    protocol=protocol,
                    source=source,
                )


_ROWS = tuple(_expanded(_ENTRIES))
