"""The house keeps its directions: a room stands above all that it imports."""

import ast
from pathlib import Path

LIBRARY = Path(__file__).parents[1] / "jaxal"
ROOMS = [  # from the bottom to the top; what stands in one line does not know each other
    {"types", "errors", "files", "hosts", "arrays"},
    {"acquisition", "assessment", "networks", "data"},
    *(
        {room}
        for room in ("scoring", "training", "strategies", "tasks", "labels", "rounds", "report", "studies", "server", "cli")
    ),
]
FLOOR = {room: number for number, rooms in enumerate(ROOMS) for room in rooms}
PURE = {"acquisition", "assessment"}  # functions of arrays
FORBIDDEN_IN_PURE = {"flax", "orbax", "nibabel", "pathlib", "os", "io", "jaxal.files", "jaxal.data", "jaxal.networks"}


def imports():
    """Every import of the library: file, its room, what it imports."""
    for path in sorted(LIBRARY.rglob("*.py")):
        room = path.relative_to(LIBRARY).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((path, room, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                module = node.module or ""
                yield from ((path, room, f"jaxal.{alias.name}" if module == "jaxal" else module) for alias in node.names)


def test_no_import_runs_back_up():
    found = [(path, room, module.split(".")[1]) for path, room, module in imports() if module.startswith("jaxal.")]
    assert {room for _, room, _ in found} - {"__init__"} <= FLOOR.keys(), "a room that has no floor"
    up = [f"{path}: {other}" for path, room, other in found if room != other and not FLOOR[other] < FLOOR[room]]
    beside = {"types", "errors", "files", "hosts", "arrays"}
    assert [line for line in up if line.split(": ")[1] not in beside] == []


def test_pure_rooms_touch_neither_files_nor_flax_nor_cases():
    strange = [
        f"{path}: {module}"
        for path, room, module in imports()
        if room in PURE and any(module == name or module.startswith(f"{name}.") for name in FORBIDDEN_IN_PURE)
    ]
    assert strange == []


def test_there_is_no_circle():
    """Within rooms, too: some order of files exists in which each imports only earlier ones."""
    needs = {}
    for path, _, module in imports():
        name = ".".join(path.relative_to(LIBRARY.parent).with_suffix("").parts)
        needs.setdefault(name, set()).add(module)
    left = {name: {module for module in modules if module in needs and module != name} for name, modules in needs.items()}
    while left:
        free = [name for name, modules in left.items() if not modules & left.keys()]
        assert free, f"a circle among {sorted(left)}"
        for name in free:
            del left[name]
