"""The settings file: every mistake at once, with file, line, key, suggestion; secrets from file or environment only."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from annotated_types import Ge, Gt, Le, Lt
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from config.reading import FILE_LIMIT_BYTES, Strict, parse, spell
from config.settings import CentreSettings, Settings, read_settings, secret
from models.errors import SettingsError, SettingsFault

EXAMPLE = Path(__file__).parents[2] / "config" / "gatehouse.example.yaml"


def faults(tmp_path: Path, text: str | bytes, **environment: str) -> list[SettingsFault]:
    path = tmp_path / "gatehouse.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError) as caught:
        read_settings(path, environment=environment)
    assert {fault.file for fault in caught.value.faults} == {str(path)}
    return list(caught.value.faults)


def accepted(tmp_path: Path, text: str, **environment: str) -> Settings:
    path = tmp_path / "gatehouse.yaml"
    path.write_text(text)
    return read_settings(path, environment=environment)


def test_the_example_is_accepted_and_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    example = read_settings(EXAMPLE, environment={})
    assert example.edge.name == "East gate box"
    assert accepted(tmp_path, "").gateway.port == accepted(tmp_path, "# nothing\n").gateway.port == 8440


def test_the_settings_of_the_containers_lack_only_the_secrets_that_are_made_at_first_run() -> None:
    path = EXAMPLE.parent / "containers" / "gatehouse.yaml"
    with pytest.raises(SettingsError) as caught:
        read_settings(path, environment={"GATEHOUSE_CENTRE_URL": "", "GATEHOUSE_FACES": "off"})
    assert {fault.message for fault in caught.value.faults} == {"there is no such file"}


def test_every_mistake_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """gateway:
  prot: 80
  port: 99999
edge:
  id: 0012
  faces: {profile: dmo}
logging: loud
brokr: 1
"""
    told = [str(fault).removeprefix(f"{tmp_path}/") for fault in faults(tmp_path, text)]
    assert told == [
        "gatehouse.yaml:2: gateway.prot: unknown key (did you mean 'port'?)",
        "gatehouse.yaml:3: gateway.port: must be less than or equal to 65535",
        'gatehouse.yaml:5: edge.id: must be text (write it in quotes: "0012")',
        "gatehouse.yaml:6: edge.faces.profile: must be one of off, demo, calibrated (did you mean 'demo'?)",
        "gatehouse.yaml:7: logging: must be a section with keys of its own",
        "gatehouse.yaml:8: brokr: unknown key (did you mean 'broker'?)",
    ]


@pytest.mark.parametrize(
    ("text", "line", "path", "message"),
    [
        ("gateway: {host: [}\n", 1, "(file)", "not valid YAML"),
        ("a: 1\n b: 2\n", 2, "(file)", "not valid YAML"),
        ("gateway: {}\nedge: {}\ngateway: {}\n", 3, "gateway", "given twice, first on line 1"),
        ("- gateway\n", 1, "(file)", "must be a section"),
        ("gateway: !!python/object:os.system {}\n", 1, "gateway", "the tag"),
        ("gateway: !!binary aGk=\n", 1, "gateway", "the tag"),
        ("gateway: {session: &a {idle_s: *a}}\n", 1, "gateway.session.idle_s", "must be a valid number"),
        ("gateway: {session: {idle_s: .nan}}\n", 1, "gateway.session.idle_s", "must be a valid number"),
        ("gateway: {port: 1e999}\n", 1, "gateway.port", "must be a finite number"),
        ("gateway: {keep_facts_days: 0}\n", 1, "gateway.keep_facts_days", "greater than or equal to 1"),
        ("edge: {max_frame_age_ms: 5000}\n", 1, "edge.max_frame_age_ms", "less than or equal to 1500"),
        ("gateway: {host: 0.0.0.0}\n", 1, "gateway.host", "beyond loopback the gateway speaks TLS"),
        ("gateway: {tls: {cert_file: a.pem}}\n", 1, "gateway.tls", "go together"),
        ("gateway: {database: mysql://x}\n", 1, "gateway.database", "must begin with postgresql:// or sqlite:///"),
        ("gateway: {database: 'postgresql://u:p@h/d'}\n", 1, "gateway.database", "a password stands in the file"),
        ("gateway: {centre: {url: 'ftp://c'}}\n", 1, "gateway.centre.url", "must be a URL"),
        ("gateway: {centre: {url: 'https://u:p@c'}}\n", 1, "gateway.centre.url", "must not carry a user or password"),
        ("gateway: {centre: {url: 'https://c'}}\n", 1, "gateway.centre.url", "must be signed"),
        ("gateway: {centre: {allow_networks: [10.1.2.3/8]}}\n", 1, "gateway.centre.allow_networks[0]", "a network"),
        ("edge: {broker: {host: b.example}}\n", 1, "edge.broker.host", "needs a log-in"),
        ("edge: {broker: {password_file: nowhere}}\n", 1, "edge.broker.password_file", "there is no such file"),
        ("edge: {gateway: 'https://${HOST}'}\n", 1, "edge.gateway", "the environment has no HOST"),
        ("edge: {faces: {profile: '0.6'}}\n", 1, "edge.faces.profile", "must be one of off, demo"),
    ],
)
def test_a_mistake_is_told_where_it_stands(tmp_path: Path, text: str, line: int, path: str, message: str) -> None:
    found = faults(tmp_path, text)
    assert any((f.line, f.path) == (line, path) and message in f.message for f in found), [str(f) for f in found]


def test_a_recursive_alias_and_an_exploding_one_are_refused(tmp_path: Path) -> None:
    assert any("too deep" in fault.message for fault in faults(tmp_path, "gateway: &a {session: *a}\n"))
    bomb = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{new}: &{new} [{','.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)
    )
    assert any("too large" in fault.message for fault in faults(tmp_path, bomb))


def test_files_that_cannot_be_read_are_told_as_such(tmp_path: Path) -> None:
    assert "not UTF-8" in faults(tmp_path, b"gateway:\n  host: \xff\n")[0].message
    assert "larger than 4 MiB" in faults(tmp_path, b"#" * (FILE_LIMIT_BYTES + 1))[0].message
    with pytest.raises(SettingsError, match="No such file"):
        read_settings(tmp_path / "none.yaml", environment={})
    with pytest.raises(SettingsError, match="Is a directory"):
        read_settings(tmp_path, environment={})


@pytest.mark.parametrize("text", ["hunter2", "123456", "'hunter2'", "${USER}hunter2", "!!str 77553311"])
def test_a_secret_in_the_file_is_refused_and_never_repeated(tmp_path: Path, text: str) -> None:
    found = faults(tmp_path, f"edge:\n  broker:\n    password: {text}\n", USER="u")
    assert any((f.line, f.path, f.message) == (3, "edge.broker.password", "a secret stands in the file") for f in found)
    shown = "\n".join(map(str, found))
    assert [word for word in ("hunter2", "123456", "77553311") if word in shown] == []


def test_a_secret_comes_from_the_environment_or_from_a_file_next_to_the_settings(tmp_path: Path) -> None:
    every = "".join(chr(code) for code in range(32, 127))
    (tmp_path / "broker").write_text(every + "\n")
    from_file = accepted(tmp_path, "edge: {broker: {password_file: broker}}").edge.broker
    assert secret(from_file.password, from_file.password_file, key="k") == every
    from_environment = accepted(tmp_path, "edge: {broker: {password: '${P}'}}", P=every).edge.broker
    assert secret(from_environment.password, from_environment.password_file, key="k") == every
    assert every not in repr(from_environment)
    assert secret(None, None, key="k") is None


def test_a_secret_file_that_cannot_serve_is_told(tmp_path: Path) -> None:
    for name, content, message in [
        ("a", b"", "holds no secret"),
        ("b", b"\xff", "UTF-8"),
        ("c", b"x" * 70000, "64 KiB"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SettingsError, match=message):
            secret(None, tmp_path / name, key="edge.broker.password_file")
    with pytest.raises(SettingsError, match="No such file"):
        secret(None, tmp_path / "none", key="k")


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("x")
    found = faults(tmp_path, "edge: {broker: {password: '${P}', password_file: s}}", P="x")
    assert [fault.message for fault in found] == ["given twice, also as password_file"]


def test_the_centre_must_be_https_unless_its_network_is_named(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("x")
    text = "gateway: {centre: {url: 'http://10.0.0.1', signing_key_file: s%s}}"
    assert [fault.message for fault in faults(tmp_path, text % "")] == ["must be https"]
    assert accepted(tmp_path, text % ", allow_networks: [10.0.0.0/8]").gateway.centre.allow_networks == ("10.0.0.0/8",)


def test_paths_start_at_the_folder_of_the_file_defaults_included(tmp_path: Path) -> None:
    settings = accepted(tmp_path, "gateway: {data_dir: here}\nbroker: {data_dir: /var/lib/b}\n")
    assert settings.gateway.data_dir == tmp_path / "here"
    assert settings.edge.data_dir == tmp_path / "data" / "edge"
    assert settings.broker.data_dir == Path("/var/lib/b")
    assert settings.gateway.database_url() == f"sqlite:///{tmp_path}/here/gateway.db"


def test_an_edge_without_a_gateway_dials_the_one_of_its_file(tmp_path: Path) -> None:
    assert accepted(tmp_path, "gateway: {port: 9000}").gateway_url() == "http://127.0.0.1:9000"
    assert accepted(tmp_path, "gateway: {public_url: 'https://g/'}").gateway_url() == "https://g"
    assert accepted(tmp_path, "edge: {gateway: 'https://up.example'}").gateway_url() == "https://up.example"


@pytest.mark.parametrize("word", ["08:30", "on", "yes", "2026-01-01", "0x10", "1_000", "=", "1:2:3"])
def test_what_looks_like_text_is_text(word: str) -> None:
    assert parse(f"a: {word}", file="f", environment={}).value == {"a": word}


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    document = parse(text, file="f", environment={})
    assert document.faults or document.value is not None or text.strip()


def every_setting(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, setting in model.model_fields.items():
        section = next(
            (kind for kind in (setting.annotation, *typing.get_args(setting.annotation)) if is_section(kind)), None
        )
        if section is not None:
            yield from every_setting(section, f"{prefix}{name}.")
        else:
            yield prefix + name, setting


def is_section(kind: object) -> typing.TypeGuard[type[Strict]]:
    return isinstance(kind, type) and issubclass(kind, Strict)


@pytest.mark.parametrize(
    ("name", "setting"), [*every_setting(Settings)], ids=lambda value: value if isinstance(value, str) else ""
)
def test_each_setting_has_a_default_a_sentence_and_bounds(name: str, setting: FieldInfo) -> None:
    assert not setting.is_required()
    assert setting.description
    assert setting.description.endswith(".")
    assert setting.description[0].isupper() or setting.description[0] == "`"
    if setting.annotation in {int, float}:
        assert any(isinstance(bound, Ge | Gt) for bound in setting.metadata), f"{name} has no lower bound"
        assert any(isinstance(bound, Le | Lt) for bound in setting.metadata), f"{name} has no upper bound"
        in_seconds = "econds" in setting.description
        assert in_seconds == name.endswith("_s"), f"{name} does not end with its unit"


def test_keys_are_spelled_as_people_write_them() -> None:
    assert spell(("doors", 2, "id")) == "doors[2].id"
    assert spell(()) == "(file)"


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        CentreSettings().url = "https://other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("protection", "key"),
    [
        ("{kind: external}", "kind"),
        ("{kind: external, key_file: k, key_command: [print-key]}", "kind"),
        ("{kind: tpm, key_file: k}", "key_file"),
        ("{key_command: [print-key]}", "key_command"),
    ],
)
def test_an_outer_key_comes_from_one_place_and_only_where_it_is_used(tmp_path: Path, protection: str, key: str) -> None:
    (fault,) = faults(tmp_path, f"edge:\n  protection: {protection}\n")
    assert fault.path == f"edge.protection.{key}"
    settings = accepted(tmp_path, "edge:\n  protection: {kind: external, key_command: [print-key, --slot, '1']}\n")
    assert settings.edge.protection.key_command == ("print-key", "--slot", "1")
