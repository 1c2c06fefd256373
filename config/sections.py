"""Sections of `gatehouse.yaml` that stand by themselves: kinds of values, certificates, sessions, keys, audit."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from config.reading import LocalPath, Strict


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if value and (parts.scheme not in {"http", "https"} or not parts.hostname):
        raise ValueError("must be a URL that begins with https:// (or http:// on this machine)")
    if parts.username or parts.password:
        raise ValueError("must not carry a user or password: use the settings for keys")
    return value.rstrip("/")


def _network(value: str) -> str:
    try:
        return str(ip_network(value))
    except ValueError as error:
        raise ValueError("must be a network such as 10.1.0.0/16") from error


HttpUrl = Annotated[str, AfterValidator(_http_url)]
Network = Annotated[str, AfterValidator(_network)]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class TlsSettings(Strict):
    """Certificates of one side of a TLS connection."""

    ca_file: LocalPath | None = Field(
        None, description="PEM file of the authorities that the other side must be signed by."
    )
    cert_file: LocalPath | None = Field(None, description="PEM file of our own certificate chain.")
    key_file: LocalPath | None = Field(None, description="PEM file of our own private key, readable by its owner only.")


class SessionSettings(Strict):
    """How long people stay logged in to the console, and how guessing is slowed."""

    idle_s: Seconds = Field(1800, le=86_400, description="Seconds without a request after which a session ends.")
    lifetime_s: Seconds = Field(43_200, le=604_800, description="Seconds after which a session ends in any case.")
    login_attempts: int = Field(5, ge=1, le=100, description="Wrong passwords in a row after which a log-in is locked.")
    lockout_s: Seconds = Field(900, le=86_400, description="Seconds for which a locked log-in stays locked.")


class KeySettings(Strict):
    """The gateway's own keys. Several gateways on one database share them: copy the files."""

    master: SecretStr | None = Field(
        None, description="Key that wraps secrets in the database, 32 bytes in base64, as ${NAME} from the environment."
    )
    master_file: LocalPath | None = Field(
        None,
        description="File of the key that wraps secrets in the database; made if absent, `master.key` in data_dir.",
    )
    identity_file: LocalPath | None = Field(
        None,
        description="File of the key that signs policies and checkpoints; made if absent, `identity.key` in data_dir.",
    )


class SyslogSettings(Strict):
    """The collector that audit rows and checkpoints are sent to (RFC 5424 over TCP or TLS)."""

    host: str = Field("", max_length=255, description="Host of the syslog collector; empty sends nothing.")
    port: Port = Field(6514, description="TCP port of the syslog collector.")
    transport: Literal["tls", "tcp"] = Field(
        "tls", description="`tls` (RFC 5425), or `tcp` (RFC 6587) on a closed network."
    )
    tls: TlsSettings = Field(TlsSettings(), description="Certificates towards the collector.")
    timeout_s: Seconds = Field(10, ge=0.1, le=120, description="Seconds to wait for the collector.")


class AuditSettings(Strict):
    """What the audit log asks for, and where proofs of it go."""

    require_reasons: bool = Field(
        False, description="Whether looks at people, and changes of people and configuration, must carry a reason."
    )
    checkpoint_every_s: Seconds = Field(
        60, ge=1, le=300, description="Seconds between two signed checkpoints, while there is something new."
    )
    syslog: SyslogSettings = Field(SyslogSettings(), description="The syslog collector.")


class ProtectionSettings(Strict):
    """What keeps the master key of an edge's templates."""

    kind: Literal["file", "tpm", "external"] = Field(
        "file",
        description="`file` keeps the key in a 0600 file of data_dir; `tpm` has a TPM 2.0 seal it (tpm2-tools); "
        "`external` wraps it under a key from key_file or key_command.",
    )
    tcti: str = Field(
        "", max_length=200, description="How tpm2-tools reach the TPM, as in TPM2TOOLS_TCTI; empty is their own choice."
    )
    key_file: LocalPath | None = Field(
        None, description="File on another mount with the outer key: 32 bytes, 64 hexadecimal digits, or base64."
    )
    key_command: tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...] = Field(
        (), max_length=20, description="Program, and its arguments, that prints the outer key in hexadecimal or base64."
    )
