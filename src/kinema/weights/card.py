"""The model card beside written weights: what the network is, how it was made, what was measured."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kinema.weights.network import NetworkWeights

CARD = "README.md"
_HOW = {
    "kinema": 'import kinema\n\nextractor = kinema.load("{folder}")\nfeatures = extractor.dense(frames)',
    "huggingface": 'from transformers import AutoModel\n\nmodel = AutoModel.from_pretrained("{folder}")',
    "timm": "import json, timm\nfrom safetensors.torch import load_file\n\n"
    'model = timm.create_model("vit_base_patch16_224", **json.load(open("architecture.json")))\n'
    'model.load_state_dict(load_file("model.safetensors"))',
    "onnx": 'import onnxruntime\n\nsession = onnxruntime.InferenceSession("model.onnx")\n'
    'features = session.run(None, {{"pixels": standardized}})[0]  # (B, h, w, D), or (B, t, h, w, D) of clips',
    "export": 'import torch\n\nmodel = torch.export.load("model.pt2").module()\nfeatures = model(standardized)',
}
_LIBRARIES = {"huggingface": "transformers"}
"""Hugging Face's name for what loads the files, where it is not us."""


def write_card(folder: Path, weights: NetworkWeights, to: str, *, source: Mapping[str, Any]) -> None:
    """Writes `README.md`: facts, recipe, data, protocol and numbers as far as the weights' own folder says them."""
    (folder / CARD).write_text(card(folder.name, weights, to, source=source))


def card(name: str, weights: NetworkWeights, to: str, *, source: Mapping[str, Any]) -> str:
    """The text of the card. What nobody measured is said to be not measured."""
    origin = _origin(source)
    recipe, results = origin.get("recipe"), origin.get("results", [])
    lines = [
        f"---\nlibrary_name: {_LIBRARIES.get(to, 'kinema')}\ntags: [video, self-supervised, feature-extraction]\n---",
        f"# {name}\n",
        f"Read from {weights.format}; source `{source.get('source', 'memory')}`, SHA-256 `{source.get('sha256')}`.\n",
        f"## How to use it\n\n```python\n{_HOW[to].format(folder=name)}\n```",
        "\nPixels in [0, 1] are standardized by mean "
        f"{' '.join(map(str, weights.pixels.mean))} and deviation {' '.join(map(str, weights.pixels.std))}.",
        "\n## The network\n\n| fact | value |\n|---|---|",
        *(f"| {fact.replace('_', ' ')} | {value} |" for fact, value in weights.facts().items() if value is not None),
        "\n## What was measured\n",
        *([_result_line(result) for result in results] or ["Nothing beside these weights; no number is claimed."]),
        "\n## How it was made\n",
        _recipe_lines(recipe) if recipe else "The files do not say: they are not from a run folder.",
    ]
    return "\n".join(lines) + "\n"


def _origin(source: Mapping[str, Any]) -> dict[str, Any]:
    """`recipe.json` and every `result.json` of the run folder that the weights come from."""
    folder = Path(str(source.get("source", "")))
    folder = folder if folder.is_dir() else folder.parent
    if not (folder / "recipe.json").is_file():
        return {}
    found = [_json(folder / "recipe.json")]
    results = [_json(file) for file in sorted({*folder.glob("result.json"), *folder.glob("*/result.json")})]
    return {"recipe": found[0], "results": [result for result in results if result]}


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _recipe_lines(recipe: Mapping[str, Any]) -> str:
    kept = {name: value for name, value in recipe.items() if name not in ("versions", "skipped")}
    title = f"The run's own description: recipe {recipe.get('recipe')} and every setting"
    text = json.dumps(kept, indent=2)
    return f"<details><summary>{title}</summary>\n\n```json\n{text}\n```\n\n</details>"


def _result_line(result: Mapping[str, Any]) -> str:
    summary = ", ".join(f"{name} {value:.4g}" for name, value in result.get("summary", {}).items())
    protocol = result.get("protocol", {})
    said = protocol.get("name") if isinstance(protocol, Mapping) else None
    under = (
        f"protocol `{said}` version {protocol.get('version')}"
        if said
        else f"reading `{json.dumps(result.get('reading'))}`"
    )
    return f"- {result.get('benchmark') or result.get('data', {}).get('dataset')}: {summary}; {under}"
