"""Documentation that cannot lie: every setting, driver, fact, alert, command and API group has its heading."""

from __future__ import annotations

import json
import re
import tomllib
import typing
from collections.abc import Iterator

import msgspec
import pytest
import typer
from pydantic import BaseModel
from typer.core import TyperGroup

from config.reading import Strict
from config.settings import Settings
from config.site import SiteFile
from gateway.cli import app
from models.alerts import SEVERITIES
from models.events import AnyFact
from tests.house.tree import ROOT, headings, modules, names, tracked

DOCS = ROOT / "docs"


def section_of(annotation: object) -> tuple[type[BaseModel], bool] | None:
    """Return the model of a section, and whether there is a list of it."""
    if isinstance(annotation, type) and not typing.get_origin(annotation):
        return (annotation, False) if issubclass(annotation, Strict) else None
    for inner in typing.get_args(annotation):
        found = section_of(inner)
        if found is not None:
            return found[0], found[1] or typing.get_origin(annotation) is tuple
    return None


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        section = section_of(field.annotation)
        spelled = f"{prefix}{name}{'[]' if section and section[1] else ''}"
        yield spelled, field.description or ""
        if section is not None:
            yield from keys(section[0], f"{spelled}.")


@pytest.mark.parametrize("model", [Settings, SiteFile])
def test_every_setting_has_its_heading_and_its_sentence(model: type[BaseModel]) -> None:
    page = DOCS / "configuration.md"
    text = page.read_text()
    known = headings(page)
    assert [name for name, _ in keys(model) if name not in known] == []
    assert [name for name, sentence in keys(model) if sentence not in text] == []


def test_no_heading_names_a_setting_that_is_gone() -> None:
    known = {name for model in (Settings, SiteFile) for name, _ in keys(model)}
    written = headings(DOCS / "configuration.md") - {"Configuration", "gatehouse.yaml", "site.yaml"}
    assert written - known == set()


def test_every_setting_is_read_by_somebody() -> None:
    rooms = ("config", "drivers", "edge", "gateway")
    code = "\n".join(path.read_text() for path in modules(*rooms))
    names_read = {name.rsplit(".", 1)[-1] for name, _ in keys(Settings)}
    unread = [name for name in names_read if len(re.findall(rf"\.{name}\b", code)) == 0]
    assert unread == [], "a setting that changes nothing is a promise that nobody keeps"


def test_every_fact_and_every_kind_of_alert_has_its_heading() -> None:
    facts = {str(msgspec.inspect.type_info(kind).tag) for kind in typing.get_args(AnyFact)}  # type: ignore[attr-defined]
    known = headings(DOCS / "facts.md")
    assert facts
    assert {*facts, *(f"Alert {kind}" for kind in SEVERITIES)} - known == set()
    assert known - {*facts, *(f"Alert {kind}" for kind in SEVERITIES)} == {"Facts and alerts", "Facts", "Alerts"}


def test_every_driver_has_its_heading() -> None:
    folders = {path.parent.name for path in tracked() if path.match("drivers/*/wire.py")}
    assert folders
    assert folders - headings(DOCS / "drivers.md") == set()


def test_every_group_of_the_api_has_its_heading() -> None:
    groups = set()
    for path in tracked():
        if path.match("gateway/api/*.py"):
            for tags in re.findall(r"tags=\[([^\]]+)\]", path.read_text()):
                groups |= set(re.findall(r'"([^"]+)"', tags))
    assert groups
    assert groups - headings(DOCS / "api.md") == set()


def commands(group: TyperGroup, prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, command in group.commands.items():
        if not command.hidden:
            yield f"{prefix}{name}", " ".join((command.help or "").split())
            if isinstance(command, TyperGroup):
                yield from commands(command, f"{prefix}{name} ")


def test_every_command_has_its_heading_and_its_sentence() -> None:
    page = DOCS / "commands.md"
    told = dict(commands(typing.cast(TyperGroup, typer.main.get_command(app))))
    assert set(told) == headings(page) - {"Commands"}
    assert [name for name, sentence in told.items() if not sentence or sentence not in page.read_text()] == []


def test_every_library_is_explained_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    libraries = {re.split(r"[\[<>=~!; ]", line, maxsplit=1)[0] for line in wanted}
    libraries |= set(json.loads((ROOT / "gateway/console/package.json").read_text())["dependencies"])
    lines = (DOCS / "dependencies.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    explained = {row[0]: row for row in rows if row[0] != "library"}
    assert set(explained) == libraries
    assert [name for name, row in explained.items() if len(row) != 4 or not row[1] or not row[3]] == []


def test_links_between_pages_lead_somewhere() -> None:
    links = {
        f"{page.relative_to(ROOT)}: {target}": page.parent / target
        for page in tracked()
        if page.suffix == ".md"
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
        if "://" not in target
    }
    broken = [name for name, path in links.items() if not path.exists()]
    assert broken == []


def exists(name: str) -> bool:
    """Return whether `path.py:function` (or a test's `path.py::function`) or a path exists in this checkout."""
    path, _, inner = name.replace("::", ":").partition(":")
    file = ROOT / path
    return file.exists() and (not inner or inner in names(file))


def test_the_walkthrough_names_what_exists() -> None:
    spans = re.findall(r"`([\w/.-]+\.(?:py|ts|tsx)(?::[\w.]+)?)`", (DOCS / "walkthrough.md").read_text())
    assert len(spans) >= 20
    assert [name for name in spans if not exists(name)] == []


def test_every_requirement_has_its_test_or_its_reason() -> None:
    rows = {}
    for line in (DOCS / "privacy.md").read_text().splitlines():
        match = re.match(r"\| (R\d+) \| ([^|]+) \| ([^|]+) \| (.+) \|$", line)
        if match:
            rows[match.group(1)] = match
    assert list(rows) == [f"R{number}" for number in range(1, 45)]
    for number, row in rows.items():
        answer = row.group(4)
        tests = re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", answer)
        assert tests or "Not met yet: " in answer, f"{number} names neither a test nor a reason"
        assert [name for name in tests if not exists(name)] == [], number
        assert row.group(3).strip() in {
            "software",
            "deployer",
            "organisation",
            "software, deployer",
            "software, organisation",
        }
