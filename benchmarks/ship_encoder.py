"""Makes a run's encoder the built-in one: half precision, what it is in numbers, and its model card.

    python benchmarks/ship_encoder.py runs/a vitt8 --card card.md --about about.json

about.json holds `network`, `license`, `trained_on` and `note`, which `kinema models` prints. The card is copied next to
the weights as it is: write it first, with every source and license of the data.
"""

import argparse
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import torch

from kinema.weights.builtin import BUILTIN, SCHEME, find_builtin
from kinema.weights.files import save_encoder
from kinema.weights.load import load
from kinema.weights.read import read_weights

MAX_BYTES = 12_000_000


def ship(run: str, name: str, *, card: Path, about: Path) -> Path:
    """Writes the folder of a built-in encoder and returns it. Raises ValueError if it is too large for a wheel."""
    weights, sha256 = read_weights(run)
    folder = find_builtin(SCHEME + name)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: tensor.to(torch.float16) for key, tensor in weights.encoder_tensors.items()}
    save_encoder(folder, tensors, {"encoder": asdict(weights.encoder), "made_from_sha256": sha256})
    size = (folder / "encoder.safetensors").stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{size} bytes: a built-in encoder has at most {MAX_BYTES}")
    described = json.loads(about.read_text(encoding="utf-8"))
    (folder / "about.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    shutil.copyfile(card, folder / "README.md")
    _check_precision(run, name)
    return folder


def _check_precision(run: str, name: str) -> None:
    """Half precision must not change what the network sees: the cosine of features stays above 0.9999."""
    frames = torch.randint(0, 256, (1, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    before, after = (load(source, device="cpu").dense(frames.numpy()) for source in (run, SCHEME + name))
    cosine = torch.nn.functional.cosine_similarity(before, after, dim=-1).min()
    if not cosine > 0.9999:
        raise ValueError(f"half precision changes features: a cosine of {cosine:.6f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("name", choices=BUILTIN)
    parser.add_argument("--card", type=Path, required=True)
    parser.add_argument("--about", type=Path, required=True)
    options = parser.parse_args()
    print(ship(options.run, options.name, card=options.card, about=options.about))


if __name__ == "__main__":
    main()
