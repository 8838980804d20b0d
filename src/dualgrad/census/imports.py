"""Networks from an import path, ``mypackage.nets:build``: found and looked at without running them.

A module is looked for in the workflow's folder, then where Python finds everything. Nothing here imports torch.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from dualgrad.files import visible
from dualgrad.validation import clipped, did_you_mean


class ImportPathError(ValueError):
    """An import path leads to nothing that builds a network; says what was expected."""


def find_module(name: str, root: Path) -> Path:
    """Return the source file of a module, without importing it or what it lies in.

    Args:
        name: with dots, ``mypackage.nets``.
        root: the workflow's folder, which is looked in first.

    Raises:
        ImportPathError: there is none, or none in Python.
    """
    *parents, _ = parts = name.split(".")
    for places in ([str(root)], None):
        spec: ModuleSpec | None = None
        where = places
        for place in range(len(parts)):
            spec = PathFinder.find_spec(".".join(parts[: place + 1]), where)
            if spec is None:
                break
            where = list(spec.submodule_search_locations or [])
        if spec is not None and spec.origin and spec.origin.endswith(".py"):
            return Path(spec.origin)
        if spec is not None and spec.origin:
            raise ImportPathError(f"module '{name}' is no file of Python ({Path(spec.origin).name})")
    folder = root.joinpath(*parents)
    near = [one.stem for one in folder.iterdir()] if folder.is_dir() else []
    hint = did_you_mean(parts[-1], [one for one in near if one.isidentifier()])
    raise ImportPathError(f"there is no module '{name}' in {root}, nor where Python looks{hint}")


def files_of_module(name: str, root: Path) -> list[Path]:
    """Return the files that a module of one's own consists of: it, or all of its package; installed ones are not own.

    Raises:
        ImportPathError: as from ``find_module``.
    """
    file, root = find_module(name, root).resolve(), root.resolve()
    top = root / name.partition(".")[0]  # where it, or its package, is a link, its files lie elsewhere
    if top.is_dir() and top.resolve() in file.parents:
        return [one for one in visible(top, "**/*.py") if one.is_file()]
    single = top.with_suffix(".py")
    return [single] if single.is_file() and single.resolve() == file else []


def check_import(path: str, root: Path) -> None:
    """Look whether a function of this name takes options and number of classes, in the module's source.

    Raises:
        ImportPathError: it does not, as far as can be seen without running it.
    """
    module, _, name = path.partition(":")
    file = find_module(module, root)
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError as error:
        raise ImportPathError(f"{file.name}, line {error.lineno}: {error.msg}") from None
    except (ValueError, OSError) as error:
        raise ImportPathError(f"{file.name} cannot be read ({error})") from None
    defined = dict(_names(tree.body))
    if name not in defined:
        if any(isinstance(one, ast.ImportFrom) and one.names[0].name == "*" for one in tree.body):
            return  # it may come from there
        own = [one for one in defined if not one.startswith("_")]
        hint = did_you_mean(name, own)
        raise ImportPathError(
            f"{file.name} defines no '{name}'{hint} (known: {clipped(', '.join(own)) or 'nothing'})"
        )
    found = defined[name]
    if isinstance(found, ast.AsyncFunctionDef):
        raise ImportPathError(f"'{name}' is asynchronous; expected a function build(options, classes)")
    if isinstance(found, ast.FunctionDef):
        _check_arguments(found)
    elif isinstance(found, ast.Constant | ast.List | ast.Dict | ast.Tuple):
        raise ImportPathError(f"'{name}' is no function; expected build(options, classes)")


def _names(body: list[ast.stmt]) -> Iterator[tuple[str, ast.AST | None]]:
    """Names that a module defines, each with what it is as far as that can be seen."""
    for one in body:
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield one.name, one
        elif isinstance(one, ast.Assign):
            for target in one.targets:
                for part in ast.walk(target):
                    if isinstance(part, ast.Name):
                        yield part.id, one.value
        elif isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            yield one.target.id, one.value
        elif isinstance(one, ast.Import | ast.ImportFrom):
            for alias in one.names:
                yield (alias.asname or alias.name).partition(".")[0], None
        elif isinstance(one, ast.If | ast.Try | ast.With):
            yield from _names(one.body)
            yield from _names(getattr(one, "orelse", []))
            for handler in getattr(one, "handlers", []):
                yield from _names(handler.body)


def _check_arguments(function: ast.FunctionDef) -> None:
    given = function.args
    names = [one.arg for one in (*given.posonlyargs, *given.args)]
    needed = len(names) - len(given.defaults)
    few = len(names) < 2 and given.vararg is None
    keyword = [
        one.arg for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True) if default is None
    ]
    if few or needed > 2 or keyword:
        takes = ", ".join((*names, *(f"*, {one}" for one in keyword))) or "nothing"
        raise ImportPathError(
            f"'{function.name}' takes {takes}; expected two arguments: options and number of classes"
        )


def source_digest(name: str, root: Path) -> str:
    """Return the SHA-256 (hex) of a module's source: of its file, or, with its package's, of all their hashes."""
    files = files_of_module(name, root) or [find_module(name, root)]
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def make_importable(root: Path) -> None:
    """Let Python find modules in the workflow's folder, after everything that is installed."""
    if str(root) not in sys.path:
        sys.path.append(str(root))


def shadowed(name: str, root: Path) -> str | None:
    """Return the file that Python takes for a module of the workflow's folder, where it is another one."""
    top = name.partition(".")[0]
    own = PathFinder.find_spec(top, [str(root)])
    if own is None or own.origin is None:
        return None
    known = sys.modules.get(top)
    spec = known.__spec__ if known is not None else importlib.util.find_spec(top)
    origin = spec.origin if spec is not None else None
    return None if origin is None or Path(origin).resolve() == Path(own.origin).resolve() else origin
