"""Results that are cheap to make again follow all the code that makes them, found by following imports."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from dualgrad.cli import COMMANDS
from dualgrad.jobs.revisions import CODE

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "dualgrad"
FILES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
# What dualgrad.jobs.revisions leaves out, and why stands there; imports of these are not followed either.
LEFT_OUT = re.compile(
    r"dualgrad\.(arguments|completion|progress|project|validation|strict_json|strict_yaml|files|records|archives|downloads"
    r"|census(\.(?!cards)\w+)?|(data|models|method|training)(\.\w+)*)"
)
# Commands whose results are records and data, which do not follow code.
NOT_CHEAP = {"train", "verify", "data"}


@cache
def imported(name: str) -> frozenset[str]:
    """Modules that a module imports, in functions too: not for types alone, nor for the jobs of a worker to come."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        for one in ast.iter_child_nodes(node):
            if isinstance(one, ast.If) and "TYPE_CHECKING" in ast.unparse(one.test):
                continue
            if isinstance(one, ast.FunctionDef) and one.name == "preload":
                continue
            if isinstance(one, ast.Import):
                found.update(alias.name for alias in one.names)
            elif isinstance(one, ast.ImportFrom) and one.module:
                names = {f"{one.module}.{alias.name}" for alias in one.names}
                found.update(names if names <= FILES.keys() else names | {one.module})
            elif isinstance(one, ast.Call) and ast.unparse(one.func).endswith("import_module"):
                # By a name that is worked out: any module of that folder.
                text = ast.unparse(one.args[0]).replace("{__package__}", name.rpartition(".")[0])
                folder = re.match(r"f?['\"]([\w.]+)\.\{", text)
                assert folder, f"{name}: {text}"
                found.update(other for other in FILES if other.rpartition(".")[0] == folder[1])
            visit(one)

    visit(ast.parse(FILES[name].read_text(encoding="utf-8")))
    return frozenset(found & FILES.keys())


def behind(command: str) -> set[Path]:
    """Files behind a command: modules that it comes to import, and what lies beside them and is no code."""
    found: set[str] = set()
    todo = [COMMANDS[command][0]]
    left_out = (
        re.compile(LEFT_OUT.pattern.replace(r"(\.(?!cards)\w+)?", "")) if command == "cards" else LEFT_OUT
    )
    while todo:
        name = todo.pop()
        if name not in found and not left_out.fullmatch(name):
            found.add(name)
            todo += [] if name == "dualgrad" else imported(name)
    files = {FILES[name] for name in found}
    folders = {path.parent for path in files if path.parent not in (PACKAGE, PACKAGE / "commands")}
    return files | {
        path
        for folder in folders
        for path in folder.iterdir()
        if path.is_file() and path.suffix not in (".py", ".pyc") and not path.name.startswith(".")
    }


@pytest.mark.parametrize("command", CODE)
def test_a_digest_has_all_the_code_behind_its_command(command: str) -> None:
    known = {pattern: set(PACKAGE.glob(pattern)) for pattern in CODE[command]}
    assert all(known.values()), "a pattern without files"
    missing = behind(command) - set.union(*known.values())
    assert not missing, (
        f"to be named in dualgrad.jobs.revisions, or left out with a reason: {sorted(missing)}"
    )


def test_imports_are_followed() -> None:
    assert PACKAGE / "figures" / "figure1.py" in behind("figure")
    assert PACKAGE / "estimators" / "curves.py" in behind("figure")
    assert PACKAGE / "statistics" / "hysteresis.py" in behind("statistics")
    assert PACKAGE / "census" / "cards" / "protocols.md" in behind("cards")
    assert PACKAGE / "census" / "expand.py" in behind("cards")
    assert PACKAGE / "planning" / "rates.py" in behind("controls")
    assert not [path for path in behind("controls") if "training" in path.parts]


def test_every_rule_has_the_digest_of_its_own_command() -> None:
    rules = [
        text
        for file in (ROOT / "workflow" / "rules").glob("*.smk")
        for text in re.split(r"^ *rule\b", file.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    ]
    asked = [
        (re.findall(r'"dualgrad ([\w-]+)', rule), re.findall(r'\brevision=revision\("(\w+)"\)', rule))
        for rule in rules
    ]
    commands = {command for (command, *_), _ in filter(lambda one: one[0], asked)}
    assert commands == CODE.keys() | NOT_CHEAP
    for called, digests in asked:
        if called and called[0] not in NOT_CHEAP:
            assert digests == called
