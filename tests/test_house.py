"""How the house is kept: which way imports point, what may be imported at start, sizes, and words (CONTRIBUTING.md)."""

import ast
import re
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from docs.site.modules import PAGE, with_tables

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("labelbeam", "pipeline", "results", "transforms", "labelset", "detectors", "storage", "configs")
MAX_LINES, MAX_FILES = 400, 16

# What each room may import of the others. The public names may come from anywhere: they are imported when used.
MAY_IMPORT = {
    "labelbeam": set(ROOMS),
    "pipeline": {"labelbeam", "results", "transforms", "labelset", "detectors", "storage", "configs"},
    "results": {"transforms", "labelset", "detectors", "storage"},
    "transforms": {"labelset", "detectors", "storage"},
    "labelset": {"storage"},
    "detectors": {"storage"},
    "storage": set(),
    "configs": set(),
}
# `results` reads images as jobs do, by these parts of `transforms`, which know no Beam when they are imported.
BEAM_FREE_TRANSFORMS = ("transforms.fetch", "transforms.decode", "transforms.sources", "transforms.elements")


@cache
def files(*patterns: str) -> list[Path]:
    """The repository's own files, as Git lists them, new ones too."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return [Path(name) for name in sorted(set(filter(None, listed.split("\0")))) if (ROOT / name).is_file()]


def module_name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, Path]:
    """The rooms' modules by name, as `storage.files`."""
    return {module_name(path): path for path in files("*.py") if path.parts[0] in ROOMS}


def _imports(module: str, tree: ast.AST):
    package = module if modules()[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in tree.body if isinstance(tree, ast.Module) else [tree]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}".strip(".")
                yield full if full in modules() else base


def imports_at_start(module: str) -> set[str]:
    """What a module imports when it is imported: not in functions, and not for type checkers alone."""
    found = set()
    todo = list(ast.parse((ROOT / modules()[module]).read_text()).body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        found.update(_imports(module, node))
        todo.extend(ast.iter_child_nodes(node))
    return found


def all_imports(module: str) -> set[str]:
    tree = ast.parse((ROOT / modules()[module]).read_text())
    return {name for node in ast.walk(tree) for name in _imports(module, node)}


@cache
def loads(module: str) -> dict[str, tuple[str, ...]]:
    """The libraries and modules that importing a module loads, each with one way that leads to it."""
    ways: dict[str, tuple[str, ...]] = {module: (module,)}
    todo = [module]
    while todo:
        at = todo.pop()
        parts = at.split(".")
        above = [".".join(parts[:i]) for i in range(1, len(parts))]  # importing a.b imports a first
        for name in [*above, *imports_at_start(at)]:
            if name not in ways:
                ways[name] = (*ways[at], name)
                if name in modules():
                    todo.append(name)
    return ways


def ways_to(library: str, module: str) -> list[str]:
    return [" → ".join(way) for name, way in loads(module).items() if name.split(".")[0] == library]


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room):
    wrong = [
        f"{module} imports {name}"
        for module in modules()
        if module.split(".")[0] == room
        for name in all_imports(module)
        if name.split(".")[0] in ROOMS and name.split(".")[0] not in {room, *MAY_IMPORT[room]}
    ]
    assert not wrong


def test_imports_between_rooms_are_relative():
    absolute = [
        f"{module} imports {name}" for module in modules() for name in all_imports(module) if "labelbeam." in name
    ]
    assert not [line for line in absolute if not line.startswith("labelbeam ")]


def test_results_use_only_those_transforms_that_know_no_beam():
    used = {name for module in modules() if module.startswith("results") for name in all_imports(module)}
    used = {name for name in used if name.startswith("transforms.")}
    assert not {name for name in used if not name.startswith(BEAM_FREE_TRANSFORMS)}


@pytest.mark.parametrize("room", ["labelset", "detectors", "storage"])
def test_rooms_that_know_no_beam(room):
    found = [way for module in modules() if module.split(".")[0] == room for way in ways_to("apache_beam", module)]
    assert not found


def test_reading_a_label_set_loads_neither_beam_nor_tensorflow():
    readers = [m for m in modules() if m.split(".")[0] == "labelset" or m == "results.reader"]
    assert "results.reader" in readers
    for library in ("apache_beam", "tensorflow", "keras"):
        assert not [way for module in readers for way in ways_to(library, module)]


def test_no_file_is_long():
    lengths = {str(path): (ROOT / path).read_text().count("\n") for path in files("*.py", "*.j2", "*.md", "Makefile")}
    assert not {path: lines for path, lines in lengths.items() if lines > MAX_LINES}


def test_no_folder_is_full():
    folders = Counter(str(path.parent) for path in files("*.py") if path.name != "__init__.py")
    assert not {folder: number for folder, number in folders.items() if number > MAX_FILES}


# A word of docs/glossary.md, and what isn't said for it.
NOT_SAID = {
    "image": r"pictures?",
    "label set": r"labellings",
    "deduplicate, compact, clean up": r"settle[sd]?|settling|sweeps?|swept|sweeping",
    "quarantined": r"suspects?|set aside",
    "in flight": r"in hand",
    "prefetch": r"read[ _-]?aheads?",
    "consumer": r"takers?",
    "producer": r"makers?",
    "host key": r"lanes?",
    "execution options": r"pace",
    "box prompts": r"given[ _]boxes",
    "retryable, retry policy, backs off": r"patien(?:ce|t)",
    "matched": r"partners?",
    "engine keras": r"native",
}
ALLOWED = re.compile(r"<picture|native[ -](?:code|libraries|crash)", re.IGNORECASE)
HAND_WRITTEN = (
    "*.py", "*.md", "*.j2", "*.yaml", "*.yml", "*.toml", "Makefile", ".ci/*", "docker/*", ":!tests/test_house.py",
    ":!docs/glossary.md",
)  # fmt: skip


@pytest.mark.parametrize("word", NOT_SAID)
def test_one_word_for_one_thing(word):
    # `_` separates words too: in names of functions and of files.
    pattern = re.compile(rf"(?<![a-z0-9])(?:{NOT_SAID[word]})(?![a-z0-9])", re.IGNORECASE)
    found = []
    for path in files(*HAND_WRITTEN):
        lines = enumerate((ROOT / path).read_text().splitlines(), start=1)
        found += [f"{path}:{n}: {line.strip()}" for n, line in lines if pattern.search(ALLOWED.sub("", line))]
        found += [str(path)] * bool(pattern.search(path.name))
    assert not found, "\n".join([f"say {word}:", *found])


def test_the_architecture_page_has_a_line_on_each_module():
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page) == page, "python -m docs.site.modules"


def test_private_apis_are_listed_with_tests_that_are_there():
    _, _, section = PAGE.read_text(encoding="utf-8").partition("## Private APIs")
    named = re.findall(r"`(tests/[\w/]+\.py)`", section)
    assert len(named) > 3 and [path for path in named if not (ROOT / path).is_file()] == []
    for module, path in modules().items():
        foreign = [node for node in foreign_attributes(path) if f"{node.attr}`" not in section]
        assert not foreign, f"{module}: {[ast.unparse(node) for node in foreign]}"


def test_tests_use_what_is_public():
    _, _, section = PAGE.read_text(encoding="utf-8").partition("## Private APIs")
    wrong = []
    for path in files("tests/**/*.py"):
        text = (ROOT / path).read_text()
        used = [ast.unparse(node) for node in foreign_attributes(path) if f"{node.attr}`" not in section]
        used += re.findall(r"setattr\([^()]*?[\"'.](_[a-zA-Z]\w*)[\"']", text)
        used += re.findall(r"^from labelbeam.* import .*\b(_[a-zA-Z]\w*)", text, re.MULTILINE)
        wrong += [f"{path}: {name}" for name in used]
    assert not wrong


def foreign_attributes(path: Path) -> list[ast.Attribute]:
    """Reads of private attributes in a file that come from elsewhere."""
    nodes = list(ast.walk(ast.parse((ROOT / path).read_text())))
    attributes = [node for node in nodes if isinstance(node, ast.Attribute) and re.match(r"_[a-zA-Z]", node.attr)]
    ours = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)} | _OF_PYTHON
    ours |= {node.attr for node in attributes if ast.unparse(node.value) in ("self", "cls")}
    ours |= {node.target.id for node in nodes if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
    return [node for node in attributes if node.attr not in ours]


_OF_PYTHON = {"_replace", "_asdict", "_fields", "_exit"}  # of named tuples, of os
