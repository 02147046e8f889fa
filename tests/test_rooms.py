"""The house keeps its directions: a room stands above all that it imports."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = [  # from the bottom to the top; rooms in one line do not know each other, except on the ground floor
    {"types", "task_kind", "errors", "files", "hosts", "arrays", "cells", "numbers", "claims", "named_options"},
    {"acquisition", "assessment", "networks", "data"},
    *(
        {room}
        for room in ("scoring", "training", "strategies", "tasks", "api", "labels", "rounds", "report", "studies", "leaderboard")
    ),
    *({room} for room in ("worklists", "projects", "server", "cli", "__init__", "__main__")),
]
FLOOR = {room: number for number, rooms in enumerate(ROOMS) for room in rooms}
PURE = {"acquisition", "assessment"}  # functions of arrays
STRANGE = {"flax", "orbax", "nibabel", "pathlib", "os", "io", "shutil", "tempfile", "jaxal.files", "jaxal.data", "jaxal.networks"}
STRANGE_NAMES = {"Case", "Label", "Unit", "Dataset", "Splits", "open"}


def nodes(*folders):
    """Every node of the files of these folders: the file's path from the root, node."""
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        yield from ((path.relative_to(ROOT), node) for node in ast.walk(ast.parse(path.read_text())))


def imports():
    """Every import of the library: file, its room, module. `from package import module` counts as the module, if it is ours."""
    for path, node in nodes("jaxal"):
        room = path.parts[1].removesuffix(".py")
        if isinstance(node, ast.Import):
            yield from ((path, room, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = ".".join([*(path.parts[: -node.level] if node.level else ()), *filter(None, [node.module])])
            for alias in node.names:
                place = ROOT.joinpath(*module.split("."), alias.name)
                yield path, room, f"{module}.{alias.name}" if place.is_dir() or place.with_suffix(".py").is_file() else module


def test_no_import_runs_back_up():
    inner = [(path, room, module.split(".")[1]) for path, room, module in imports() if module.startswith("jaxal.")]
    assert {room for _, room, _ in inner} <= FLOOR.keys(), "a room that has no floor"
    up = [f"{path}: {other}" for path, room, other in inner if room != other and not FLOOR[other] < FLOOR[room]]
    assert [line for line in up if line.split(": ")[1] not in ROOMS[0]] == []


def test_the_library_stands_without_what_lies_beside_it():
    beside = {"experiments", "benchmarks", "tests"}
    assert [f"{path}: {module}" for path, _, module in imports() if module.split(".")[0] in beside] == []


def test_pure_rooms_touch_neither_files_nor_flax_nor_cases():
    parts = [(path, module.split(".")) for path, room, module in imports() if room in PURE]
    assert [f"{path}: {part}" for path, part in parts if {part[0], ".".join(part[:2])} & STRANGE] == []
    fields = {ast.alias: "name", ast.Name: "id", ast.Attribute: "attr"}  # of the nodes that name something
    names = ((path, getattr(node, fields.get(type(node), ""), None)) for path, node in nodes(*(f"jaxal/{room}" for room in PURE)))
    assert [f"{path}: {name}" for path, name in names if name in STRANGE_NAMES] == []


def test_there_is_no_circle():
    """Within rooms, too: some order of files exists in which each imports only earlier ones."""
    needs = {}
    for path, _, module in imports():
        name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        needs.setdefault(name, set()).add(module)
    left = {name: {module for module in modules if module in needs and module != name} for name, modules in needs.items()}
    while left:
        free = [name for name, modules in left.items() if not modules & left.keys()]
        assert free, f"a circle among {sorted(left)}"
        for name in free:
            del left[name]


def test_functions_stay_small():
    for path, node in nodes("jaxal", "experiments", "benchmarks"):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            assert node.end_lineno - node.lineno + 1 <= 60, f"{path}: {node.name} is too long"
            assert len({argument.arg for argument in given} - {"self", "cls"}) <= 8, f"{path}: {node.name} takes too much"


def test_files_stay_small():
    """Long ones are split along a seam, because a file should have one subject."""
    folders = ("jaxal", "tests", "benchmarks", "experiments")
    lengths = {path: len(path.read_text().splitlines()) for folder in folders for path in (ROOT / folder).rglob("*.py")}
    assert [f"{path.relative_to(ROOT)}: {lines} lines" for path, lines in lengths.items() if lines > 400] == []


def test_importing_the_library_computes_nothing():
    code = "import sys, jaxal; print({'jax', 'numpy'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "set()\n"
