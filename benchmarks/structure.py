"""Measures the structure of the package: sizes, names, comments, imports, and the way from the command to the loss.

    python benchmarks/structure.py                 # the checkout that this file belongs to
    python benchmarks/structure.py --root OTHER    # another checkout, e.g. an earlier commit
    python benchmarks/structure.py --frames        # also trains one step, to count the calls above the loss

An import counts wherever it stands: at the top, inside a function, or under `TYPE_CHECKING`. A circle is a set of
modules each of which reaches all the others through imports.
"""

import argparse
import ast
import io
import json
import statistics
import sys
import tempfile
import tokenize
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERBLESS = ("ed", "en", "ing")
"""Endings of the bare participles that a function's name should not be."""


@dataclass(frozen=True)
class Module:
    """One source file."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def num_lines(self) -> int:
        return len(self.text.splitlines())


def read_modules(source: Path) -> dict[str, Module]:
    """All modules of the package, by dotted name."""
    modules = {}
    for path in sorted(source.rglob("*.py")):
        relative = path.relative_to(source.parent).with_suffix("")
        name = ".".join(part for part in relative.parts if part != "__init__")
        text = path.read_text(encoding="utf-8")
        modules[name] = Module(name, path, text, ast.parse(text))
    return modules


def find_imports(module: Module, modules: dict[str, Module]) -> set[str]:
    """The modules of the package that a module imports."""
    imported: set[str] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module in modules:
            members = {f"{node.module}.{alias.name}" for alias in node.names} & modules.keys()
            imported.update(members or {node.module})
    return imported - {module.name}


def find_circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected components of more than one module (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in graph[node]:
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            component = [stack.pop()]
            while component[-1] != node:
                component.append(stack.pop())
            if len(component) > 1:
                circles.append(sorted(component))

    for node in graph:
        if node not in index:
            visit(node)
    return circles


def find_functions(module: Module) -> Iterator[ast.FunctionDef]:
    yield from (node for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef))


def count_comment_lines(module: Module) -> int:
    """Lines that hold a comment, tool directives aside."""
    tokens = tokenize.generate_tokens(io.StringIO(module.text).readline)
    comments = (token.string for token in tokens if token.type == tokenize.COMMENT)
    return sum(not comment.startswith(("# noqa", "# type:", "# pyright:")) for comment in comments)


def measure_structure(root: Path) -> dict[str, Any]:
    """Everything that can be read off the source text."""
    modules = read_modules(root / "src" / "kinema")
    graph = {name: find_imports(module, modules) for name, module in modules.items()}
    importers = Counter(target for targets in graph.values() for target in targets)
    sizes = {name: module.num_lines for name, module in modules.items() if module.path.name != "__init__.py"}
    longest = max(sizes, key=lambda name: sizes[name])
    functions = [node for module in modules.values() for node in find_functions(module)]
    classes = Counter(
        node.name for module in modules.values() for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)
    )
    public_or_not = [node.name.lstrip("_") for node in functions if not _is_property(node)]
    return {
        "files": len(sizes),
        "lines": sum(module.num_lines for module in modules.values()),
        "median lines of a file": int(statistics.median(sizes.values())),
        "longest file": f"{longest} ({sizes[longest]})",
        "functions": len(functions),
        "functions over 40 lines": sum(node.end_lineno - node.lineno >= 40 for node in functions if node.end_lineno),
        "function names that end like a participle": sum(
            name.endswith(VERBLESS) and "_" not in name for name in public_or_not
        ),
        "class names used twice": sorted(name for name, count in classes.items() if count > 1),
        "comment lines": sum(count_comment_lines(module) for module in modules.values()),
        "files with exactly one importer": sum(importers[name] == 1 for name in sizes),
        "import circles": find_circles(graph),
    }


def _is_property(node: ast.FunctionDef) -> bool:
    return any("property" in ast.dump(decorator) for decorator in node.decorator_list)


def count_frames(root: Path) -> dict[str, Any]:
    """Trains one step of a toy SiamMAE and counts the package's calls on the stack when the loss is computed."""
    sys.path.insert(0, str(root / "src"))
    from kinema.cli.main import main
    from kinema.methods.siammae import SiamMAE

    stacks: list[list[str]] = []
    forward = SiamMAE.forward

    def recording(self: SiamMAE, *arguments: Any, **options: Any) -> Any:
        package = str(root / "src" / "kinema")
        stacks.append([frame.filename for frame in traceback.extract_stack() if frame.filename.startswith(package)])
        return forward(self, *arguments, **options)

    SiamMAE.forward = recording
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        layouts = ["--layouts", "davis", "--height", "64", "--width", "64", "--num-frames", "20"]
        main(["synth", "--out", f"{folder}/clips", "--clips", "4", *layouts])
        steps = ["--train.steps", "1", "--train.warmup-steps", "0", "--data.num-workers", "0"]
        main(["pretrain", "siammae_smoke", "--data", f"{folder}/clips/davis", "--out", f"{folder}/run", *steps])
    files = stacks[0]
    return {
        "frames from the command to the loss": len(files) + 1,  # forward itself
        "files on that way": len({*files}) + 1,
        "folders on that way": len({str(Path(file).parent) for file in files} | {str(root / "src/kinema/methods")}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1])
    parser.add_argument("--frames", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    measured = measure_structure(options.root)
    if options.frames:
        measured |= count_frames(options.root)
    if options.json:
        print(json.dumps(measured))
        return
    for name, value in measured.items():
        print(f"{name:45} {value if value != [] else 'none'}")


if __name__ == "__main__":
    main()
