"""Model card of written weights: what the network is, how it was trained and what was measured."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from kinema.weights.network import NetworkWeights

CARD = "README.md"
_USAGE = {
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
"""The library that loads the files, by Hugging Face's name, if it is not Kinema."""


def write_card(folder: Path, weights: NetworkWeights, to: str, *, source: Mapping[str, Any]) -> None:
    """Writes `README.md` with the facts, and with the recipe and results of the run folder the weights come from."""
    build_card(folder.name, weights, to, source=source).save(folder / CARD)


def build_card(name: str, weights: NetworkWeights, to: str, *, source: Mapping[str, Any]) -> ModelCard:
    """Returns the model card. It states explicitly when nothing was measured."""
    recipe, results = _read_origin(source)
    lines = [
        f"# {name}\n",
        f"Read from {weights.format}; source `{source.get('source', 'memory')}`, SHA-256 `{source.get('sha256')}`.\n",
        f"## How to use it\n\n```python\n{_USAGE[to].format(folder=name)}\n```",
        "\nPixels in [0, 1] are standardized with mean "
        f"{' '.join(map(str, weights.pixels.mean))} and standard deviation {' '.join(map(str, weights.pixels.std))}.",
        "\n## The network\n\n| fact | value |\n|---|---|",
        *(
            f"| {fact.replace('_', ' ')} | {value} |"
            for fact, value in weights.list_facts().items()
            if value is not None
        ),
        "\n## What was measured\n",
        *(
            [_format_result(result) for result in results]
            or ["No results come with these weights; no number is claimed."]
        ),
        "\n## How it was made\n",
        _format_recipe(recipe) if recipe else "The files do not say, because they do not come from a run folder.",
    ]
    data = ModelCardData(
        # A file of tensors does not state its license, and a guess could grant rights that nobody gave.
        license="unknown",
        library_name=_LIBRARIES.get(to, "kinema"),
        pipeline_tag="image-feature-extraction" if weights.encoder.tubelet_size == 1 else "feature-extraction",
        tags=["video", "self-supervised", "feature-extraction"],
        model_name=name,
        eval_results=[row for result in results for row in _build_eval_results(result)] or None,
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n".join(lines) + "\n")


def _read_origin(source: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Returns `recipe.json` and every `result.json` of the run folder that the weights come from; empty without one."""
    folder = Path(str(source.get("source", "")))
    folder = folder if folder.is_dir() else folder.parent
    if not (folder / "recipe.json").is_file():
        return {}, []
    results = [_read_json(file) for file in sorted({*folder.glob("result.json"), *folder.glob("*/result.json")})]
    return _read_json(folder / "recipe.json"), [result for result in results if result]


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _name_dataset(result: Mapping[str, Any]) -> str:
    return str(result.get("benchmark") or result.get("data", {}).get("dataset"))


def _build_eval_results(result: Mapping[str, Any]) -> list[EvalResult]:
    """Returns the rows of the model index, one per measure."""
    dataset, protocol = _name_dataset(result), result.get("protocol")
    return [
        EvalResult(
            task_type="other",
            dataset_type=dataset,
            dataset_name=dataset,
            dataset_args={"protocol": protocol["name"]}
            if isinstance(protocol, Mapping) and "name" in protocol
            else None,
            metric_type=measure,
            metric_value=value,
        )
        for measure, value in result.get("summary", {}).items()
    ]


def _format_recipe(recipe: Mapping[str, Any]) -> str:
    kept = {name: value for name, value in recipe.items() if name not in ("versions", "skipped")}
    title = f"The run's own description: recipe {recipe.get('recipe')} and every setting"
    text = json.dumps(kept, indent=2)
    return f"<details><summary>{title}</summary>\n\n```json\n{text}\n```\n\n</details>"


def _format_result(result: Mapping[str, Any]) -> str:
    summary = ", ".join(f"{measure} {value:.4g}" for measure, value in result.get("summary", {}).items())
    protocol = result.get("protocol", {})
    name = protocol.get("name") if isinstance(protocol, Mapping) else None
    under = (
        f"protocol `{name}` version {protocol.get('version')}"
        if name
        else f"reading `{json.dumps(result.get('reading'))}`"
    )
    return f"- {_name_dataset(result)}: {summary}; {under}"
