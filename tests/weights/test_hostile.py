"""Hostile and damaged files are refused with one line; nothing is run and nothing is written."""

import io
import json
import os
import pickle
import pickletools
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from kinema.errors import WeightsError
from kinema.weights.read import read_weights
from tests.weights.layouts import dino_head, saved, state, training, under

TENSORS = state()


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return (os.system, (f"touch {self.mark}",))


class Sneaky:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return (eval, (f"open({str(self.mark)!r}, 'w').close()",))


def code(folder: Path) -> Path:
    return saved(folder, training(model=TENSORS) | {"hook": Evil(folder / "mark")})


def code_in_a_bare_pickle(folder: Path) -> Path:
    (folder / "weights.pth").write_bytes(pickle.dumps({"model": Sneaky(folder / "mark")}))
    return folder / "weights.pth"


def code_in_namespace(folder: Path) -> Path:
    """The one class that is allowed may not contain another."""
    content = training(model=TENSORS)
    content["args"].hook = Evil(folder / "mark")
    try:
        return saved(folder, content)
    finally:
        del content["args"].hook


def torchscript(folder: Path) -> Path:
    module = torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))
    module.save(folder / "weights.pt")
    return folder / "weights.pt"


def zip_leads_out(folder: Path) -> Path:
    file = saved(folder, TENSORS)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("checkpoint/../../../mark", b"evil")
    return file


def zip_bomb(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "weights.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("archive/data/0", bytes(2**20))
    return folder / "weights.pth"


def other_zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "weights.pth", "w") as archive:
        archive.writestr("readme.txt", "words")
    return folder / "weights.pth"


def truncated(folder: Path) -> Path:
    content = save(TENSORS)
    (folder / "weights.safetensors").write_bytes(content[: len(content) // 2])
    return folder / "weights.safetensors"


def truncated_pth(folder: Path) -> Path:
    file = saved(folder, TENSORS)
    file.write_bytes(file.read_bytes()[:-5000])
    return file


def ten_terabytes(folder: Path) -> Path:
    header = {"cls_token": {"dtype": "F32", "shape": [2_500_000_000_000], "data_offsets": [0, 10_000_000_000_000]}}
    claimed = json.dumps(header).encode()
    (folder / "weights.safetensors").write_bytes(struct.pack("<Q", len(claimed)) + claimed + bytes(64))
    return folder / "weights.safetensors"


def huge_header(folder: Path) -> Path:
    (folder / "weights.safetensors").write_bytes(struct.pack("<Q", 10**13) + bytes(64))
    return folder / "weights.safetensors"


def claims_by_stride(folder: Path) -> Path:
    """Claims 10^14 numbers but stores one."""
    return saved(folder, TENSORS | {"cls_token": torch.zeros(1).expand(1, 10**7, 10**7)})


def wrong_dtype(folder: Path) -> Path:
    save_file(TENSORS | {"norm.weight": torch.ones(192).long()}, folder / "weights.safetensors")
    return folder / "weights.safetensors"


def quantized(folder: Path) -> Path:
    return saved(folder, TENSORS | {"norm.weight": torch.ones(192, dtype=torch.int8)})


def nan_weights(folder: Path) -> Path:
    return saved(folder, TENSORS | {"norm.weight": torch.full((192,), torch.nan)})


def infinite_weights(folder: Path) -> Path:
    save_file(TENSORS | {"norm.weight": torch.full((192,), torch.inf)}, folder / "weights.safetensors")
    return folder / "weights.safetensors"


def missing_key(folder: Path) -> Path:
    return saved(folder, {name: tensor for name, tensor in TENSORS.items() if name != "blocks.1.attn.proj.bias"})


def one_key(folder: Path) -> Path:
    return saved(folder, {"cls_token": TENSORS["cls_token"]})


def mixed(folder: Path) -> Path:
    """A complete ViT next to a complete DINO backbone under its prefix."""
    return saved(folder, TENSORS | under("backbone.", TENSORS) | dino_head("head."))


def half_renamed(folder: Path) -> Path:
    """One block as transformers names it."""
    tensors = {name.replace("blocks.1.norm1", "encoder.layer.1.layernorm_before"): t for name, t in TENSORS.items()}
    return saved(folder, tensors)


def wrong_shape(folder: Path) -> Path:
    return saved(folder, TENSORS | {"blocks.1.mlp.fc1.bias": torch.zeros(7)})


def million_blocks(folder: Path) -> Path:
    return saved(folder, TENSORS | {"blocks.9999.norm1.weight": torch.ones(192)})


def not_named(folder: Path) -> Path:
    return saved(folder, [torch.zeros(3)])


def no_network(folder: Path) -> Path:
    return saved(folder, {"optimizer": {}, "epoch": 3})


def index_leads_out(folder: Path) -> Path:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../../etc/x.safetensors"}}))
    return folder


def empty(folder: Path) -> Path:
    (folder / "weights.pth").write_bytes(b"")
    return folder / "weights.pth"


def cut_in_a_reference(folder: Path) -> Path:
    """Refers to a value that was never stored; PyTorch raises a bare KeyError with a number."""
    (folder / "weights.pth").write_bytes(b"\x80\x02}q\x00h\x05.")
    return folder / "weights.pth"


def words(folder: Path) -> Path:
    (folder / "weights.pth").write_text("words " * 99)
    return folder / "weights.pth"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (code, r"refused, because it asks to run or build (os|posix)\.system when it is opened; nothing was run"),
        (
            code_in_a_bare_pickle,
            "refused, because it holds more than tensors and plain values when it is opened; nothing",
        ),
        (code_in_namespace, r"refused, because it asks to run or build (os|posix)\.system"),
        (torchscript, "TorchScript archive, which holds code; nothing was run"),
        (zip_leads_out, r"leads out of the archive; nothing was written"),
        (zip_bomb, "a compressed archive"),
        (other_zip, "an archive that PyTorch did not write"),
        (truncated, "not a readable safetensors file"),
        (truncated_pth, "not a readable PyTorch file|damaged"),
        (ten_terabytes, "not a readable safetensors file"),
        (huge_header, "not a readable safetensors file"),
        (claims_by_stride, "claims 100000000000000 numbers and stores fewer"),
        (wrong_dtype, "norm.weight holds I64"),
        (quantized, "norm.weight holds int8"),
        (nan_weights, "norm.weight contains values that are not finite"),
        (infinite_weights, "norm.weight contains values that are not finite"),
        (missing_key, r"1 tensor missing \(blocks.1.attn.proj.bias\)"),
        (one_key, "not of a known format"),
        (mixed, r"several networks in it, under no prefix, backbone\."),
        (half_renamed, "not expected"),
        (wrong_shape, r"blocks.1.mlp.fc1.bias is \(7,\), \(768,\) is expected"),
        (million_blocks, "1 tensor missing"),
        (not_named, "of a list, not of named tensors"),
        (no_network, "no network in it: it holds optimizer, epoch"),
        (index_leads_out, "which is no file of this folder"),
        (empty, "not a readable PyTorch file"),
        (cut_in_a_reference, "not a readable PyTorch file: it ends too early, or is of another kind"),
        (words, "refused|not a readable PyTorch file"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_refused(make: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    source = make(folder)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(WeightsError, match=message) as caught:
        read_weights(source)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert caught.value.fix
    assert sorted(tmp_path.rglob("*")) == before
    assert not (folder / "mark").exists()
    assert not Path("mark").exists()


def test_the_evil_pickles_are_evil(tmp_path: Path) -> None:
    """An unguarded reader runs the code in these files, so the tests above test something."""
    content = pickle.dumps({"model": Sneaky(tmp_path / "mark")})
    pickle.loads(content)
    assert (tmp_path / "mark").exists()
    found = io.StringIO()
    pickletools.dis(content, found)
    assert "eval" in found.getvalue()


def test_the_command_line_prints_one_line_and_exits_with_4(tmp_path: Path) -> None:
    file = code(tmp_path)
    ran = subprocess.run(
        [sys.executable, "-m", "kinema", "weights", "inspect", str(file)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 4
    assert ran.stdout == ""
    assert ran.stderr.startswith("kinema: error: refused, because it asks to run or build")
    assert ran.stderr.count("\n") == 1
    assert not (tmp_path / "mark").exists()
