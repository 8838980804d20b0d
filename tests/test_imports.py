"""The package's rooms: no module is imported, directly or by way of others, by one that it imports itself."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST, known: set[str]) -> set[str]:
    """Modules of the package that a module imports when it is imported: not in functions, not for types alone."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & known
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & known or {node.module} & known
        else:
            found |= imports(node, known)
    return found


def package() -> dict[str, set[str]]:
    paths = {module_of(path): path for path in (SOURCE / "dualgrad").rglob("*.py")}
    known = set(paths)
    return {
        name: imports(ast.parse(path.read_text(encoding="utf-8")), known) - {name}
        for name, path in paths.items()
    }


def test_no_import_goes_in_a_circle():
    graph = package()
    assert len(graph) > 100 and graph["dualgrad.tables.edition"] >= {"dualgrad.tables.read"}
    TopologicalSorter(graph).prepare()  # its CycleError names the circle


def test_training_tables_and_estimators_stand_below_what_uses_them():
    """As docs/architecture.md draws the arrows: census, training, records, analysis, figures."""
    below = {"files", "strict_json", "strict_yaml", "validation", "archives", "downloads", "progress", "gpus"}
    may = {
        "method": set(),
        "models": {"census", "method"},
        "data": {"census"},
        "training": {"census", "data", "method", "models", "records", "thresholds"},
        "tables": {"records", "thresholds"},
        "estimators": set(),
    }
    graph = package()
    for room, known in may.items():
        modules = [name for name in graph if name.startswith(f"dualgrad.{room}")]
        assert modules, room
        used = {f"{one}.".split(".")[1] for name in modules for one in graph[name]}
        assert used <= known | below | {room, ""}, room


def lengths(text: str) -> dict[str, int]:
    """Lines of each function of a file of Snakemake rules, from its `def` to its last line."""
    lines, found = text.splitlines(), {}
    for start, line in enumerate(lines):
        if not (named := re.match(r"( *)(?:async )?def (\w+)", line)):
            continue
        end = start
        for number in range(start + 1, len(lines)):
            body = lines[number]
            if body.strip() and not body.startswith((named[1] + " ", named[1] + ")")):
                break
            end = number if body.strip() else end
        found[named[2]] = end - start + 1
    return found


def test_rules_compute_next_to_nothing():
    """What rules need worked out is in the package, typed and tested; a function of theirs has ten lines at most."""
    files = sorted((SOURCE.parent / "workflow").rglob("*.smk")) + [SOURCE.parent / "Snakefile"]
    known = {f"{path.name}: {name}": n for path in files for name, n in lengths(path.read_text()).items()}
    assert len(known) > 20
    assert {name: n for name, n in known.items() if n > 10} == {}
    assert lengths("def f(\n    a,\n):\n    b\n\n    c\n\n\nd\n") == {"f": 6}
