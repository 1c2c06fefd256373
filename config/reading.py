"""Strict reading of YAML: every mistake at once, each with file, line, key and a suggestion.

YAML is read by its 1.2 core rules: `08:30` and `on` are text, `0012` is a number that asks for quotes where
text is meant. `${NAME}` anywhere in a text is taken from the environment that the caller hands over. This module does
not know what any key means: the models do (config.settings, config.site).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, ValidationError, ValidationInfo
from pydantic_core import ErrorDetails
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from models.errors import SettingsError, SettingsFault

Key = tuple[str | int, ...]
Model = TypeVar("Model", bound="Strict")
FILE_LIMIT_BYTES = 4 * 1024 * 1024
NODE_LIMIT = 200_000
DEPTH_LIMIT = 16
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Strict(BaseModel):
    """Stand above every section of a settings file: frozen, unknown keys refused, defaults checked like values."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True, revalidate_instances="always"
    )


def _from_folder(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str | Path) or str(value) == "":
        return value
    folder = (info.context or {}).get("folder")
    path = Path(value).expanduser()
    return path if folder is None or path.is_absolute() else Path(folder) / path


LocalPath = Annotated[Path, BeforeValidator(_from_folder)]
"""A path; a relative one starts at the folder of the settings file."""


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """Name what a rule over several keys found wrong: the key, the sentence, and what to write instead."""

    key: Key
    message: str
    suggestion: str | None = None


@dataclass
class Document:
    """Hold a parsed file: plain values, the line of every key, and which keys took their value from the environment."""

    file: str
    value: object = None
    lines: dict[Key, int] = field(default_factory=dict)
    source: dict[Key, str] = field(default_factory=dict)
    referenced: set[Key] = field(default_factory=set)
    faults: list[SettingsFault] = field(default_factory=list)

    def line(self, key: Key) -> int:
        """Return the line of a key, or of the nearest section above it."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key, 1)

    def blame(self, key: Key, message: str, *, suggestion: str | None = None) -> None:
        """Record a fault at a key."""
        self.faults.append(
            SettingsFault(file=self.file, line=self.line(key), path=spell(key), message=message, suggestion=suggestion)
        )


class _CoreLoader(yaml.SafeLoader):
    """Resolve scalars as YAML 1.2 does: no sexagesimal numbers, dates, octals or yes/no."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own hook


_CoreLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|)$"), ["~", "n", ""])
_CoreLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_CoreLoader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_CoreLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)


def spell(key: Key) -> str:
    """Return a key as people write it: `doors[2].id`, or `(file)` for the whole."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "(file)"


def parse(text: str, *, file: str, environment: Mapping[str, str]) -> Document:
    """Parse YAML text into a document; syntax errors and duplicate keys become faults in it."""
    document = Document(file=file)
    try:
        node = yaml.compose(text, Loader=_CoreLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        document.lines[()] = mark.line + 1 if mark else 1
        hint = "check indentation, colons and quotes on this line"
        document.blame((), f"not valid YAML: {error.problem}", suggestion=hint)
        return document
    except RecursionError:
        document.blame(
            (), "too deep", suggestion="no settings nest like this: close the brackets, mend the indentation"
        )
        return document
    except yaml.YAMLError as error:
        document.blame(
            (), f"not valid YAML: {' '.join(str(error).split())[:200]}", suggestion="save the file as UTF-8 text"
        )
        return document
    document.value = {} if node is None else _Walk(document, environment).plain(node, ())
    return document


class _Walk:
    """Turn nodes into plain values, remembering lines."""

    def __init__(self, document: Document, environment: Mapping[str, str]) -> None:
        self._document = document
        self._environment = environment
        self._left = NODE_LIMIT
        self._refused = False

    def plain(self, node: Node, key: Key) -> object:
        self._document.lines.setdefault(key, node.start_mark.line + 1)
        self._left -= 1
        if self._left < 0 or len(key) > DEPTH_LIMIT:
            if not self._refused:
                self._refused = True
                self._document.blame(key, "too deep or too large", suggestion="split it, use no recursive aliases")
            return None
        if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.count(":") > 2 or "/" in node.tag:
            self._document.blame(key, f"the tag {node.tag!r} is not accepted", suggestion="write the plain value")
            return None
        if isinstance(node, MappingNode):
            return self._mapping(node, key)
        if isinstance(node, SequenceNode):
            return [self.plain(item, (*key, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, key)

    def _mapping(self, node: MappingNode, key: Key) -> dict[str, object]:
        values: dict[str, object] = {}
        for name_node, value_node in node.value:
            name = str(name_node.value) if isinstance(name_node, ScalarNode) else "?"
            here = (*key, name)
            if name in values:
                self._document.faults.append(
                    SettingsFault(
                        file=self._document.file,
                        line=name_node.start_mark.line + 1,
                        path=spell(here),
                        message=f"given twice, first on line {self._document.line(here)}",
                        suggestion="remove one of the two",
                    )
                )
                continue
            self._document.lines[here] = name_node.start_mark.line + 1
            values[name] = self.plain(value_node, here)
        return values

    def _scalar(self, node: Node, key: Key) -> object:
        raw = str(node.value)
        self._document.source[key] = raw
        kind = node.tag.rsplit(":", 1)[-1]
        try:
            match kind:
                case "null":
                    return None
                case "bool":
                    return raw.lower() == "true"
                case "int":
                    return int(raw)
                case "float":
                    return float(raw)
        except ValueError:
            self._document.blame(key, f"{raw[:40]!r} is not a {kind}", suggestion="write text in quotes")
            return None
        if not node.tag.endswith(":str"):
            self._document.blame(key, f"the tag {node.tag!r} is not accepted", suggestion="write the plain value")
            return None
        return self._expand(raw, key)

    def _expand(self, raw: str, key: Key) -> str:
        def look_up(match: re.Match[str]) -> str:
            name = match.group(1)
            if name not in self._environment:
                self._document.blame(key, f"the environment has no {name}", suggestion=f"set {name} before starting")
                return ""
            return self._environment[name]

        if _REFERENCE.fullmatch(raw):
            self._document.referenced.add(key)
        return _REFERENCE.sub(look_up, raw)


def read(
    path: Path,
    model: type[Model],
    *,
    environment: Mapping[str, str],
    rules: Callable[[Model], Iterable[Mistake]] = lambda _: (),
    plain_rules: Callable[[object], Iterable[Mistake]] = lambda _: (),
) -> Model:
    """Read a YAML file into a model.

    Args:
        path: the file; relative paths inside it start at its folder.
        model: the strict model of the whole file.
        environment: where `${NAME}` is looked up.
        rules: what must hold between keys, run only on a file whose keys are right one by one.
        plain_rules: what can be told of any file's plain values, whatever they are; said only where nothing else is wrong.

    Raises:
        SettingsError: with every fault found, in the order of the file.
    """
    text = text_of(path)
    document = parse(text, file=str(path), environment=environment)
    if document.value is None or (document.faults and not document.value):
        raise SettingsError(document.faults)
    checked: Model | None = None
    try:
        checked = model.model_validate(document.value, context={"folder": path.absolute().parent})
    except ValidationError as error:
        for key, message, suggestion in _explained(error, model, document):
            document.blame(key, message, suggestion=suggestion)
    for key in _bare_secrets(document, model):
        name = str(key[-1])
        document.blame(
            key,
            "a secret stands in the file",
            suggestion=f"write ${{{name.upper()}}}, or {name}_file: PATH, and change the secret",
        )
    blamed = {fault.path for fault in document.faults}
    found = [one for one in plain_rules(document.value) if spell(one.key) not in blamed]
    for mistake in (*found, *(rules(checked) if checked is not None else ())):
        document.blame(mistake.key, mistake.message, suggestion=mistake.suggestion)
    if document.faults or checked is None:
        raise SettingsError(sorted(document.faults, key=lambda fault: (fault.line, fault.path)))
    return checked


def text_of(path: Path) -> str:
    """Return the text of a settings file.

    Raises:
        SettingsError: it cannot be read, is too large, or is no UTF-8.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(FILE_LIMIT_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise _refusal(path, f"cannot be read: {reason}", "give the path of a settings file") from error
    if len(raw) > FILE_LIMIT_BYTES:
        raise _refusal(path, f"larger than {FILE_LIMIT_BYTES // 1024 // 1024} MiB", "is this the right file?")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refusal(
            path, "not UTF-8 text", "save the file as UTF-8", line=1 + raw.count(b"\n", 0, error.start)
        ) from error


def _refusal(path: Path, message: str, suggestion: str, *, line: int = 1) -> SettingsError:
    return SettingsError(
        [SettingsFault(file=str(path), line=line, path="(file)", message=message, suggestion=suggestion)]
    )


def _explained(
    error: ValidationError, model: type[BaseModel], document: Document
) -> Iterator[tuple[Key, str, str | None]]:
    for key, item in _told(error, document):
        context = item.get("ctx", {})
        match item["type"]:
            case "extra_forbidden":
                section = _section(model, key[:-1])
                known = list(section.model_fields) if section else []
                yield key, "unknown key", nearest(str(key[-1]), known)
            case "missing":
                yield key, "required, but missing", f"add {key[-1]}: …"
            case "string_type" if key in document.source and not _is_secret(model, key):
                yield key, "must be text", f'write it in quotes: "{document.source[key]}"'
            case "literal_error":
                wanted = re.findall(r"'([^']*)'", str(context.get("expected", "")))
                yield key, f"must be one of {', '.join(wanted)}", _meant(document.source.get(key, ""), wanted)
            case "model_type" | "dict_type":
                yield key, "must be a section with keys of its own", None
            case "value_error":
                yield key, str(context.get("error", item["msg"])), None
            case _:
                message = item["msg"].replace("Input should", "must").replace("Value error, ", "")
                yield key, message[:1].lower() + message[1:], None


def _told(error: ValidationError, document: Document) -> Iterator[tuple[Key, ErrorDetails]]:
    """Yield each fault with the key of the file, without what only follows from another fault or from how we check."""
    items = error.errors(include_url=False)
    places = [tuple(item["loc"]) for item in items]
    for key, item in zip(places, items, strict=True):
        if item["type"] == "too_short" and any(other[: len(key)] == key and other != key for other in places):
            continue  # items that were refused do not count
        if item["type"] == "literal_error" and item["ctx"].get("expected") == "''":
            continue  # "may be empty" is no advice
        while key and key not in document.lines and re.search(r"[\[(]", str(key[-1])):
            key = key[:-1]  # noqa: PLW2901 - the name of a check
        yield key, item


def _meant(word: str, known: list[str]) -> str | None:
    close = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else None


def nearest(word: str, known: list[str]) -> str | None:
    """Return what to write instead of an unknown word: the known one that is meant, or those that there are."""
    return _meant(word, known) or (f"known here: {', '.join(known[:12])}" if known else None)


def _section(model: type[BaseModel], key: Key) -> type[BaseModel] | None:
    """Return the model that describes the section at a key."""
    current: object = model
    for part in key:
        section = _model_in(current)
        if section is None:
            return None
        if isinstance(part, str):
            known = section.model_fields.get(part)
            current = known.annotation if known else None
    return _model_in(current)


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not get_origin(annotation) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        found = _model_in(inner)
        if found is not None:
            return found
    return None


def _bare_secrets(document: Document, model: type[BaseModel]) -> Iterator[Key]:
    for key in document.source:
        given = key not in document.referenced and document.source[key] not in {"", "null", "~"}
        if given and _is_secret(model, key):
            yield key


def _is_secret(model: type[BaseModel], key: Key) -> bool:
    section = _section(model, key[:-1])
    known = section.model_fields.get(str(key[-1])) if section and key else None
    return known is not None and SecretStr in {known.annotation, *get_args(known.annotation)}
