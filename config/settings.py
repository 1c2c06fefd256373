"""The settings of one process tree, `gatehouse.yaml`: listeners, databases, keys, limits, brokers.

Doors, cameras, people and policies are not here: they live in the gateway's database (config.site seeds it). Only
composition roots read settings. docs/configuration.md has one heading per setting; a test keeps the two in step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from config.reading import LocalPath, Mistake, Strict, read
from config.sections import (
    AuditSettings,
    HttpUrl,
    KeySettings,
    Network,
    Port,
    ProtectionSettings,
    Seconds,
    SessionSettings,
    TlsSettings,
)
from models.errors import SettingsError, SettingsFault

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class CentreSettings(Strict):
    """The coordination centre that alerts are forwarded to (docs/centre.md has the contract)."""

    url: HttpUrl = Field("", description="Address that CloudEvents are posted to; empty forwards nothing.")
    name: str = Field(
        "centre", min_length=1, max_length=64, description="Name of the centre in logs and on the console."
    )
    signing_key: SecretStr | None = Field(
        None, description="Standard Webhooks secret, as ${NAME} from the environment."
    )
    signing_key_file: LocalPath | None = Field(None, description="File that holds the Standard Webhooks secret.")
    receipts_key: SecretStr | None = Field(
        None, description="Secret that receipts are signed with, as ${NAME}; the signing key if absent."
    )
    receipts_key_file: LocalPath | None = Field(None, description="File that holds the receipts' secret.")
    receipts_url: HttpUrl = Field(
        "", description="Address that receipts are pulled from; empty waits for them to be pushed."
    )
    receipts_every_s: Seconds = Field(10, ge=1, le=3600, description="Seconds between two pulls of receipts.")
    heartbeat_s: Seconds = Field(60, ge=1, le=3600, description="Seconds between two heartbeats.")
    timeout_s: Seconds = Field(10, ge=0.1, le=120, description="Seconds to wait for the centre's answer.")
    retry_first_s: Seconds = Field(1, ge=0.05, le=60, description="Seconds before the first retry; doubled each time.")
    retry_cap_s: Seconds = Field(300, ge=0.1, le=3600, description="Longest time in seconds between two retries.")
    allow_networks: tuple[Network, ...] = Field(
        (), max_length=32, description="Private or loopback networks that the centre may stand in; others are refused."
    )
    kinds: tuple[str, ...] = Field(
        (), max_length=64, description="Kinds of alert to forward; empty means security kinds and what was escalated."
    )
    severities: tuple[Literal["urgent", "major", "minor", "info"], ...] = Field(
        ("urgent", "major", "minor", "info"), description="Severities of alert to forward."
    )


class GatewaySettings(Strict):
    """The gateway: store, alerts, forwarding, API and console."""

    host: str = Field("127.0.0.1", min_length=1, max_length=255, description="Address that the gateway listens on.")
    port: Port = Field(8440, description="TCP port that the gateway listens on; 0 takes a free one.")
    public_url: HttpUrl = Field("", description="Address that people and edges use, where it is not host and port.")
    tls: TlsSettings = Field(
        TlsSettings(), description="Certificate of the listener; without one it must stay on loopback."
    )
    allow_plain_http: bool = Field(
        False,
        description="Whether a listener beyond loopback may do without TLS, where a proxy or a closed network adds it.",
    )
    trusted_proxies: tuple[Network, ...] = Field(
        (), max_length=32, description="Networks of reverse proxies whose forwarded addresses are believed."
    )
    data_dir: LocalPath = Field(Path("data/gateway"), description="Folder of the gateway's database and keys.")
    database: str = Field(
        "", max_length=1024, description="Address with postgresql:// or sqlite:///; empty is SQLite in data_dir."
    )
    database_password: SecretStr | None = Field(
        None, description="Password of the database, as ${NAME} from the environment."
    )
    database_password_file: LocalPath | None = Field(None, description="File that holds the password of the database.")
    console_dir: LocalPath | None = Field(
        None, description="Folder of the built console, where it is not the packaged one."
    )
    session: SessionSettings = Field(SessionSettings(), description="Log-in sessions of the console.")
    keys: KeySettings = Field(KeySettings(), description="The gateway's own keys.")
    audit: AuditSettings = Field(AuditSettings(), description="The audit log.")
    centre: CentreSettings = Field(CentreSettings(), description="The coordination centre.")
    edge_clock_skew_s: Seconds = Field(
        300,
        ge=1,
        le=3600,
        description="Largest difference in seconds between an edge's clock and ours that a request may show.",
    )
    edge_token_s: Seconds = Field(
        3600, ge=60, le=86_400, description="Seconds for which an enrolment token of an edge is good."
    )
    keep_facts_days: int = Field(180, ge=1, le=3650, description="Days for which access facts are kept.")
    keep_leavers_days: int = Field(
        30, ge=1, le=3650, description="Days after the last tenancy of a person until everything about them is erased."
    )
    keep_idle_faces_days: int = Field(
        365, ge=30, le=3650, description="Days without any use of a door after which a face is erased."
    )

    def database_url(self) -> str:
        """Return the database's address without its password: as set, or SQLite in the data folder."""
        return self.database or f"sqlite:///{self.data_dir / 'gateway.db'}"

    def base_url(self) -> str:
        """Return the address that people and edges use."""
        scheme = "https" if self.tls.cert_file else "http"
        return self.public_url or f"{scheme}://{self.host}:{self.port}"


class BrokerLink(Strict):
    """The MQTT broker that the doors of an edge speak to."""

    host: str = Field("127.0.0.1", min_length=1, max_length=255, description="Host of the MQTT broker.")
    port: Port = Field(1883, description="TCP port of the MQTT broker; 0 takes a free one when `up` starts the broker.")
    user: str = Field("edge", max_length=128, description="Name that the edge logs in to the broker with.")
    password: SecretStr | None = Field(None, description="Password at the broker, as ${NAME} from the environment.")
    password_file: LocalPath | None = Field(None, description="File that holds the password at the broker.")
    tls: TlsSettings | None = Field(None, description="Certificates towards the broker; absent means plain TCP.")


class ModelFile(Strict):
    """One network of your own, in ONNX; without `file` the network of dlib does the work."""

    file: LocalPath | None = Field(None, description="ONNX file; it needs sha256, id, kind and licence beside it.")
    sha256: str = Field(
        "", pattern=r"^([0-9a-f]{64})?$", description="SHA-256 of the file in hex; another file is refused."
    )
    id: str = Field(
        "", max_length=64, pattern=r"^([a-z0-9][a-z0-9.-]*)?$", description="Name of the network in records."
    )
    kind: Literal["", "arcface", "sface", "yunet", "boxes", "liveness"] = Field(
        "", description="Preprocessing and outputs: arcface or sface embed, yunet or boxes detect, liveness judges."
    )
    licence: str = Field("", max_length=128, description="Licence of the weights, as their maker names it.")
    non_commercial: bool = Field(False, description="Whether the licence forbids commercial use.")
    acknowledge_non_commercial: bool = Field(
        False, description="Whether such weights may be used here all the same, for research."
    )


class ModelSettings(Strict):
    """Networks of the face process; what is left out is dlib's."""

    detector: ModelFile = Field(ModelFile(), description="Finds faces.")
    embedder: ModelFile = Field(ModelFile(), description="Makes embeddings; changing it asks everybody to enrol anew.")
    liveness: ModelFile = Field(ModelFile(), description="Tells a face from a picture of one.")


class FaceSettings(Strict):
    """The face process of an edge."""

    enabled: bool = Field(True, description="Whether this edge runs a face process at all.")
    profile: Literal["off", "demo", "calibrated"] = Field(
        "off",
        description="`calibrated` lets faces open as far as counted evidence and liveness carry, else with card or PIN; "
        "`demo` allows face alone at radius 0.40 for at most 12 people, in a data folder marked DEMO; `off` matches none.",
    )
    models: ModelSettings = Field(ModelSettings(), description="Networks of your own in place of dlib's.")
    threads: int = Field(1, ge=1, le=16, description="Threads that the face networks may use.")
    cache_dir: LocalPath = Field(
        Path("~/.cache/gatehouse"), description="Folder of the converted face networks; they are checked by digest."
    )


class EdgeSettings(Strict):
    """The edge worker: cameras, doors, decisions, and facts until the gateway has them."""

    id: str = Field(
        "edge-1", min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$", description="Id of this edge."
    )
    name: str = Field("Edge 1", min_length=1, max_length=128, description="Name of this edge on the console.")
    gateway: HttpUrl = Field("", description="Address of the gateway; empty is the one of this file.")
    gateway_ca_file: LocalPath | None = Field(
        None, description="PEM file of the certificate that the gateway must show."
    )
    data_dir: LocalPath = Field(
        Path("data/edge"), description="Folder of the spool, the keys and the sealed templates."
    )
    run_dir: LocalPath | None = Field(
        None, description="Folder of the local sockets, where it is not `run` in data_dir."
    )
    token_file: LocalPath | None = Field(
        None, description="File that holds the one-time enrolment token; `up` writes and reads it itself."
    )
    broker: BrokerLink = Field(BrokerLink(), description="The MQTT broker of the doors.")
    faces: FaceSettings = Field(FaceSettings(), description="The face process.")
    protection: ProtectionSettings = Field(
        ProtectionSettings(), description="What keeps the master key of the templates."
    )
    camera_lost_after_s: Seconds = Field(
        20, ge=1, le=600, description="Seconds without a picture after which a camera is reported lost."
    )
    door_lost_after_s: Seconds = Field(
        20, ge=1, le=600, description="Seconds a door or its wire is away after which the door is reported lost."
    )
    max_frame_age_ms: int = Field(1500, ge=100, le=1500, description="Age in ms beyond which a frame opens nothing.")
    gateway_silence_s: Seconds = Field(
        86_400, ge=60, le=604_800, description="Seconds without the gateway after which faces are no longer matched."
    )
    spool_limit: int = Field(
        1_000_000,
        ge=1000,
        le=100_000_000,
        description="Facts kept for the gateway; beyond them nothing is dropped: devices keep what is not acknowledged.",
    )


class BrokerSettings(Strict):
    """The MQTT broker that `gatehouse up` starts on this box, at the address of `edge.broker`."""

    start: Literal["auto", "mosquitto", "embedded", "none"] = Field(
        "auto",
        description="Which broker to start: Mosquitto if installed else the embedded one, one of the two, or none.",
    )
    data_dir: LocalPath = Field(
        Path("data/broker"), description="Folder of the broker's configuration and persistence."
    )
    users_file: LocalPath | None = Field(
        None,
        description="YAML file of log-ins, `door-id: password` or `device: {password, topics}`; each writes only what is its own.",
    )
    tls: TlsSettings | None = Field(None, description="Certificates of the broker's listener; needed beyond loopback.")


class LoggingSettings(Strict):
    """What the processes log, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    format: Literal["text", "json"] = Field("text", description="Lines for people, or one JSON object per line.")


class Settings(Strict):
    """The whole file."""

    gateway: GatewaySettings = Field(GatewaySettings(), description="The gateway.")
    edge: EdgeSettings = Field(EdgeSettings(), description="The edge worker.")
    broker: BrokerSettings = Field(BrokerSettings(), description="The broker that `up` starts.")
    logging: LoggingSettings = Field(LoggingSettings(), description="Logging.")

    def gateway_url(self) -> str:
        """Return the address at which the edge finds its gateway."""
        return self.edge.gateway or self.gateway.base_url()


def read_settings(path: Path, *, environment: Mapping[str, str]) -> Settings:
    """Read `gatehouse.yaml`.

    Raises:
        SettingsError: with every fault of the file, each with line, key and suggestion.
    """
    return read(path, Settings, environment=environment, rules=mistakes)


def secret(value: SecretStr | None, file: Path | None, *, key: str) -> str | None:
    """Return a secret from its setting or its file (trailing line break removed); None if neither is set.

    Raises:
        SettingsError: the file cannot be read, is empty, or is larger than 64 KiB.
    """
    if value is not None:
        return value.get_secret_value()
    if file is None:
        return None
    try:
        with file.open("rb") as stream:
            raw = stream.read(65_537)
        text = raw.decode("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(file, key, f"cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}") from error
    if not text or len(raw) > 65_536:
        raise _unreadable(file, key, "holds no secret" if not text else "is larger than 64 KiB")
    return text


def _unreadable(file: Path, key: str, what: str) -> SettingsError:
    fault = SettingsFault(
        file=str(file), line=1, path=key, message=f"the file {what}", suggestion="write the secret into it, mode 0600"
    )
    return SettingsError([fault])


def mistakes(settings: Settings) -> Iterator[Mistake]:
    """Yield what is wrong between keys: secrets given twice, missing files, plain listeners beyond loopback."""
    yield from _secret_mistakes(settings)
    yield from _listener_mistakes(settings)
    yield from _centre_mistakes(settings.gateway.centre)
    yield from _protection_mistakes(settings.edge.protection)
    keys = settings.gateway.keys
    if keys.master is not None and keys.master_file is not None:
        yield Mistake(
            key=("gateway", "keys", "master"),
            message="given twice, also as master_file",
            suggestion="keep one of the two",
        )
    database = settings.gateway.database
    if database and not database.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")):
        yield Mistake(
            key=("gateway", "database"),
            message="must begin with postgresql:// or sqlite:///",
            suggestion="leave it out for SQLite in data_dir",
        )
    if database and urlsplit(database).password:
        yield Mistake(
            key=("gateway", "database"),
            message="a password stands in the file",
            suggestion="use database_password_file or database_password: ${NAME}, and change the password",
        )


def _secret_mistakes(settings: Settings) -> Iterator[Mistake]:
    centre, broker = settings.gateway.centre, settings.edge.broker
    pairs: list[tuple[tuple[str, ...], SecretStr | None, Path | None]] = [
        (("gateway", "database_password"), settings.gateway.database_password, settings.gateway.database_password_file),
        (("gateway", "centre", "signing_key"), centre.signing_key, centre.signing_key_file),
        (("gateway", "centre", "receipts_key"), centre.receipts_key, centre.receipts_key_file),
        (("edge", "broker", "password"), broker.password, broker.password_file),
    ]
    for key, value, file in pairs:
        if value is not None and file is not None:
            yield Mistake(key=key, message=f"given twice, also as {key[-1]}_file", suggestion="keep one of the two")
        if file is not None and not file.is_file():
            yield Mistake(
                key=(*key[:-1], f"{key[-1]}_file"),
                message="there is no such file",
                suggestion="create it with mode 0600",
            )


def _listener_mistakes(settings: Settings) -> Iterator[Mistake]:
    gateway, broker = settings.gateway, settings.edge.broker
    if bool(gateway.tls.cert_file) != bool(gateway.tls.key_file):
        yield Mistake(
            key=("gateway", "tls"), message="cert_file and key_file go together", suggestion="set both or none"
        )
    if gateway.host not in LOOPBACK and not gateway.tls.cert_file and not gateway.allow_plain_http:
        yield Mistake(
            key=("gateway", "host"),
            message="beyond loopback the gateway speaks TLS",
            suggestion="set tls.cert_file and tls.key_file, or allow_plain_http: true behind a proxy",
        )
    if broker.tls is None and broker.host not in LOOPBACK and not (broker.password or broker.password_file):
        yield Mistake(
            key=("edge", "broker", "host"),
            message="a broker on the network needs a log-in",
            suggestion="set password_file, and tls where the network is not closed",
        )


def _protection_mistakes(protection: ProtectionSettings) -> Iterator[Mistake]:
    given = [name for name in ("key_file", "key_command") if getattr(protection, name)]
    if protection.kind == "external" and len(given) != 1:
        yield Mistake(
            key=("edge", "protection", "kind"),
            message="an external key comes from one place",
            suggestion="set key_file or key_command, not both",
        )
    if protection.kind != "external" and given:
        yield Mistake(
            key=("edge", "protection", given[0]),
            message=f"is not used with kind: {protection.kind}",
            suggestion="set kind: external, or leave it out",
        )


def _centre_mistakes(centre: CentreSettings) -> Iterator[Mistake]:
    if not centre.url:
        return
    if centre.signing_key is None and centre.signing_key_file is None:
        yield Mistake(
            key=("gateway", "centre", "url"),
            message="alerts to the centre must be signed",
            suggestion="set signing_key_file to the secret agreed with the centre",
        )
    for name in ("url", "receipts_url"):
        address: str = getattr(centre, name)
        if address.startswith("http://") and not centre.allow_networks:
            yield Mistake(
                key=("gateway", "centre", name),
                message="must be https",
                suggestion="use https://, or name the closed network in allow_networks",
            )
