"""The house plan, read off the source: who may import whom.

``python -m tests.floors`` prints what breaks it, one line each, and exits 1 if anything does.
Every import counts, those inside functions and under TYPE_CHECKING included.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "rankbound"
FACADE = ""  # the name of the package itself, relative to itself
FLOORS = {
    "errors": 0,
    "verdict": 0,
    "certificates": 1,
    "exact": 1,
    "_validate": 1,
    "table": 1,
    "ranks": 2,
    "attention": 3,
    "theory": 4,
    "fitting": 5,
    "registry": 6,
    "sweeps": 7,
    "measuring": 7,
    "atlas": 7,
    "experiments": 8,
    "auditing": 8,
    "plots": 9,
    "reporting": 9,
    "testing": 9,
    FACADE: 9,
    "cli": 10,  # a face of floor 9 that shows the other faces
}
EXEMPT = {FACADE, "__main__"}  # they may import anything
CONFINED = {
    "flint": {"exact"},
    "hypothesis": {"testing"},
    "torch": {"auditing", "experiments"},
    "transformers": {"auditing", "experiments"},
}
WITHOUT_NUMPY = {"errors", "verdict", "certificates"}
MOST_LINES = 300


@dataclass(frozen=True)
class Import:
    """One import: who, where, and the dotted name that it reaches.

    A target inside the package is relative to it ("ranks.bounds"); `outside` is then False.
    """

    module: str
    line: int
    target: str
    outside: bool

    def __str__(self) -> str:
        return f"{self.module or PACKAGE}:{self.line} imports {self.target or PACKAGE}"


def modules(root: Path) -> dict[str, Path]:
    """Every module under the package folder, by its dotted name relative to the package."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(root: Path) -> list[Import]:
    """Every import in the package."""
    known = modules(root)
    return [
        Import(module, line, target, outside)
        for module, path in known.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for line, target, outside in _targets(node, module, path, known)
    ]


def _targets(
    node: ast.AST, module: str, path: Path, known: dict[str, Path]
) -> Iterator[tuple[int, str, bool]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            inside = alias.name.split(".")[0] == PACKAGE
            yield node.lineno, alias.name.partition(".")[2] if inside else alias.name, not inside
    elif isinstance(node, ast.ImportFrom):
        base = _base(node, module, path)
        if base.split(".")[0] != PACKAGE:
            yield node.lineno, base, True
            return
        relative = base.partition(".")[2]
        for alias in node.names:  # a name may be a module of its own
            child = f"{relative}.{alias.name}".lstrip(".")
            yield node.lineno, child if child in known else relative, False


def _base(node: ast.ImportFrom, module: str, path: Path) -> str:
    if node.level == 0:
        return node.module or ""
    here = [PACKAGE, *filter(None, module.split("."))]
    up = node.level - (path.name == "__init__.py")
    return ".".join([*here[: len(here) - up], *filter(None, [node.module])])


def top(module: str) -> str:
    """The folder or module at the top of the package to which a module belongs."""
    return module.split(".")[0]


def violations(root: Path) -> list[str]:
    """Everything that breaks the plan in the package at `root`, in words."""
    edges = imports(root)
    inside = [edge for edge in edges if not edge.outside]
    return [
        *_unknown_floors(root),
        *_upward(inside),
        *_cycles(inside),
        *_confined(edges),
        *_numpy(edges),
        *_long(root),
        *_shadowing(root),
    ]


def _unknown_floors(root: Path) -> Iterator[str]:
    for name in sorted({top(module) for module in modules(root)} - FLOORS.keys() - EXEMPT):
        yield f"{name} is on no floor of the plan"


def _upward(edges: list[Import]) -> Iterator[str]:
    for edge in edges:
        source, target = top(edge.module), top(edge.target)
        if source in EXEMPT or source == target or not {source, target} <= FLOORS.keys():
            continue
        if FLOORS[target] >= FLOORS[source]:
            yield f"{edge}: floor {FLOORS[source]} may not import floor {FLOORS[target]}"


def _cycles(edges: list[Import]) -> Iterator[str]:
    graph: dict[str, set[str]] = {}
    for edge in edges:
        if edge.module not in EXEMPT and edge.target not in EXEMPT:
            graph.setdefault(edge.module, set()).add(edge.target)
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> Iterator[str]:
        if module in path:
            yield f"cycle: {' -> '.join([*path[path.index(module) :], module])}"
        elif module not in done:
            for target in sorted(graph.get(module, ())):
                yield from visit(target, (*path, module))
            done.add(module)

    for module in sorted(graph):
        yield from visit(module, ())


def _confined(edges: list[Import]) -> Iterator[str]:
    for edge in edges:
        homes = CONFINED.get(top(edge.target)) if edge.outside else None
        if homes is not None and top(edge.module) not in homes:
            yield f"{edge}, which only {'/ and '.join(sorted(homes))}/ may"


def _numpy(edges: list[Import]) -> Iterator[str]:
    """NumPy reached from a floor that must do without it, directly or through other modules."""
    reached = {edge.module for edge in edges if top(edge.module) in WITHOUT_NUMPY}
    while True:
        more = {e.target for e in edges if not e.outside and e.module in reached} - EXEMPT
        if more <= reached:
            break
        reached |= more
    for edge in edges:
        if edge.outside and top(edge.target) == "numpy" and edge.module in reached:
            yield f"{edge}, and {', '.join(sorted(WITHOUT_NUMPY))} must work without it"


def _long(root: Path) -> Iterator[str]:
    for module, path in modules(root).items():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MOST_LINES:
            yield f"{module or PACKAGE} has {lines} lines; expected at most {MOST_LINES}"


def public_names(root: Path) -> set[str]:
    """The names in ``__all__`` of the package."""
    for node in ast.parse((root / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def _shadowing(root: Path) -> Iterator[str]:
    parts = {module.split(".")[0] for module in modules(root)}
    for name in sorted(parts & public_names(root)):
        yield f"{name} is both a public name and a module at the top of the package"


if __name__ == "__main__":
    found = violations(Path(__file__).parents[1] / PACKAGE)
    sys.stdout.writelines(f"{line}\n" for line in found)
    sys.exit(bool(found))
