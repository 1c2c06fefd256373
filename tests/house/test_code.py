"""The sheet of conventions, as tests: where packages come from, sizes, and what may not be written."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from tests.house.tree import PACKAGES, ROOT, functions, modules, parsed, spelled, tracked

FUNCTION_LINES = 40
MODULE_LINES = 400
POSITIONAL = 2
PRIVATE_POSITIONAL = 4  # what is private to a module has its callers beside it

# Each with its reason. A name stands for one function, a path for a whole module.
LONG_FUNCTIONS: dict[str, str] = {}
LONG_MODULES: dict[str, str] = {
    "tests/models/test_doors.py": "the table of the door's stories reads best in one piece",
}
MANY_ARGUMENTS: dict[str, str] = {
    "gateway/auth/signatures.py:signed_by": "key, signature, content: the order of every signing library",
    "models/events.py:fact_id": "the parts of an id, in the order in which they are hashed",
    "models/faces/align.py:Aligner.chip": "picture, box, landmarks: dlib's own order",
    "models/people.py:credential_digest": "kind, value, key: the order in which they are hashed",
    "models/sealing.py:about_template": "the parts of the authenticated data, in their order",
}
EMPTY_NAMES = {
    "gateway/centre/events.py:AlertData": "the member `data` of a CloudEvent",
    "gateway/centre/events.py:HeartbeatData": "the same",
    "gateway/centre/events.py:InventoryData": "the same",
}
CALLBACK = re.compile(r"(^|\.)(_?on_|_handle_|format|__\w+__$|do_|_dispatch)")


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count a function's lines without its docstring."""
    assert node.end_lineno is not None
    total = node.end_lineno - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        assert first.end_lineno is not None
        total -= first.end_lineno - first.lineno + 1
    return total


@pytest.mark.parametrize("package", PACKAGES)
def test_the_packages_come_from_this_checkout(package: str) -> None:
    file = importlib.import_module(package).__file__
    assert file is not None
    assert Path(file).resolve() == ROOT / package / "__init__.py"


def test_functions_are_short() -> None:
    long = {
        f"{spelled(path)}:{name}": body_lines(node)
        for path in modules()
        for name, node in functions(path)
        if body_lines(node) > FUNCTION_LINES
    }
    assert {name: lines for name, lines in long.items() if name not in LONG_FUNCTIONS} == {}
    assert set(LONG_FUNCTIONS) <= set(long), "an exception is no longer needed"


def test_modules_are_short() -> None:
    long = {spelled(path): count for path in modules() if (count := len(path.read_text().splitlines())) > MODULE_LINES}
    assert {name: lines for name, lines in long.items() if name not in LONG_MODULES} == {}
    assert set(LONG_MODULES) <= set(long), "an exception is no longer needed"


def test_arguments_beyond_two_are_named() -> None:
    many = {}
    for path in modules(*PACKAGES):
        for name, node in functions(path):
            given = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
            own = [argument for argument in given if argument not in {"self", "cls"}]
            limit = PRIVATE_POSITIONAL if name.rsplit(".", 1)[-1].startswith("_") else POSITIONAL
            if len(own) > limit and not CALLBACK.search(name):
                many[f"{spelled(path)}:{name}"] = own
    assert {name: own for name, own in many.items() if name not in MANY_ARGUMENTS} == {}
    assert set(MANY_ARGUMENTS) - set(many) == set(), "an exception is no longer needed"


def test_every_module_says_what_it_is_for() -> None:
    silent = [spelled(path) for path in modules() if ast.get_docstring(parsed(path)) is None]
    assert [name for name in silent if path_has_code(ROOT / name)] == []


def path_has_code(path: Path) -> bool:
    return bool(parsed(path).body)


def test_names_say_what_things_are() -> None:
    empty = re.compile(r"(Manager|Helper|Util|Utils|Base|Impl|Data|Info)$")
    bad = [
        f"{spelled(path)}:{node.name}"
        for path in modules()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ClassDef) and empty.search(node.name)
    ]
    assert sorted(bad) == sorted(EMPTY_NAMES)


def test_no_test_patches_or_sleeps() -> None:
    bad = []
    for path in modules("tests"):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                imported = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                if any(name == "unittest.mock" or name.endswith(".mock") for name in imported):
                    bad.append(f"{spelled(path)}:{node.lineno}: mock")
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep":
                bad.append(f"{spelled(path)}:{node.lineno}: sleep")
    assert bad == []


def test_the_error_tree_has_at_most_twelve_classes_and_its_docstring_draws_them() -> None:
    tree = parsed(ROOT / "models" / "errors.py")
    errors = [node.name for node in tree.body if isinstance(node, ast.ClassDef) and not node.decorator_list]
    drawn = ast.get_docstring(tree) or ""
    assert [name for name in errors if name not in drawn] == []
    assert len(errors) - 1 <= 12, "GatehouseError stands above at most twelve"


def test_no_address_of_a_registry_and_no_path_of_a_machine_is_tracked() -> None:
    hosts = ["pypi" + ".org", "pythonhosted" + ".org", "registry." + "npmjs", "npm" + "mirror", "/simp" + "le/"]
    places = ["/work/" + "main", "/root/" + ".pyenv", "/opt/" + "pypi", "/opt/" + "wheels"]
    bad = []
    for path in tracked():
        raw = path.read_bytes()
        if b"\0" in raw[:8192]:
            continue
        text = raw.decode("utf-8", "replace")
        bad += [f"{spelled(path)}: {word}" for word in (*hosts, *places) if word in text]
        if path.name == "package-lock.json" and '"resolved"' in text:
            bad.append(f"{spelled(path)}: addresses of packages")
    assert bad == []


# R14: no fields that sort people, in whatever language they are written.
ATTRIBUTES = re.compile(
    r"(watch_?list|black_?list|white_?list|ethnic|(^|_)race($|_)|gender|^sex$|_sex$|^age$|_age_years|emotion|mood|suspect|"
    r"disposition_list|risk_score|person_score|people_kind|beard|glasses|skin)",
    re.IGNORECASE,
)


def test_no_record_table_or_answer_has_a_field_that_sorts_people() -> None:
    bad = []
    for path in modules(*PACKAGES):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                word = node.target.id
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Column") and node.args:
                first = node.args[0]
                word = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""
            else:
                continue
            if ATTRIBUTES.search(word):
                bad.append(f"{spelled(path)}:{node.lineno}: {word}")
    assert bad == []


def test_the_deny_list_finds_what_it_is_for() -> None:
    wanted = ["watchlist", "ethnicity", "gender", "sex", "age", "emotion", "suspect_level", "risk_score"]
    assert [word for word in wanted if not ATTRIBUTES.search(word)] == []
    assert [word for word in ("age_ms", "message", "passage", "usage", "trace_id") if ATTRIBUTES.search(word)] == []
