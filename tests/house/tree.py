"""The tree of this checkout, as the house tests see it."""

from __future__ import annotations

import ast
import functools
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("models", "drivers", "edge", "gateway", "config")


@functools.cache
def tracked() -> tuple[Path, ...]:
    """Return the files that git tracks or would track."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return tuple(path for name in sorted(names) if (path := ROOT / name).is_file())


@functools.cache
def modules(*folders: str) -> tuple[Path, ...]:
    """Return the Python files of these folders, of the whole house if none is named."""
    wanted = folders or (*PACKAGES, "tests")
    return tuple(path for path in tracked() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in wanted)


@functools.cache
def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def spelled(path: Path) -> str:
    """Return a path as it is written in the house: from its root, with slashes."""
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Return the functions of a module with their dotted names, methods and inner functions included."""
    found: list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]] = []

    def walk(node: ast.AST, name: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                found.append((f"{name}{child.name}", child))
                walk(child, f"{name}{child.name}.")
            elif isinstance(child, ast.ClassDef):
                walk(child, f"{name}{child.name}.")
            else:
                walk(child, name)

    walk(parsed(path), "")
    return found


def names(path: Path) -> set[str]:
    """Return the names that a module defines: functions, classes, methods, constants."""
    defined = {name for name, _ in functions(path)}
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ClassDef):
            defined.add(node.name)
    for statement in parsed(path).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        targets = [statement.target] if isinstance(statement, ast.AnnAssign) else targets
        defined |= {target.id for target in targets if isinstance(target, ast.Name)}
    return defined


def headings(path: Path) -> set[str]:
    """Return the headings of a Markdown page without marks and code quotes."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {line.lstrip("#").strip().replace("`", "") for line in lines if line.startswith("#")}
