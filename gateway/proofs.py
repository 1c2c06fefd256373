"""The proof that a person was erased: what edges signed, bound together and signed by the gateway. Pure but for the keys.

It names a person by an opaque id only, so it may be handed out and kept. Anybody can check it offline (`gatehouse
verify-receipt`): the gateway vouches for the keys of the edges, each edge for its own templates.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Literal

import msgspec

from gateway.auth.keys import GatewayKey
from gateway.auth.signatures import signed_by
from models.errors import InvalidInput
from models.link import ErasureReceipt, erasure_statement

FORMAT: Literal["gatehouse-erasure-proof-1"] = "gatehouse-erasure-proof-1"
MAX_BYTES = 1024 * 1024
EdgeState = Literal["erased", "waiting", "revoked"]


class EdgeProof(msgspec.Struct, frozen=True, kw_only=True):
    """Say of one edge whether it confirmed the erasure, with the key that its receipts are checked with."""

    edge_id: str
    public_key: str
    state: EdgeState
    """A revoked edge answers no more: its templates are out of reach, and so is its confirmation."""
    receipts: tuple[ErasureReceipt, ...] = ()


class ErasureProof(msgspec.Struct, frozen=True, kw_only=True):
    """Hold all that is known about the erasure of a person; `erased_at` is None while only faces were withdrawn."""

    format: Literal["gatehouse-erasure-proof-1"] = FORMAT
    person_id: str
    site_id: str
    erased_at: datetime | None
    issued_at: datetime
    edges: tuple[EdgeProof, ...] = ()
    gateway_key: str = ""
    signature: str = ""

    @property
    def complete(self) -> bool:
        """True if the person's rows are gone and every edge confirmed."""
        return self.erased_at is not None and all(edge.state == "erased" for edge in self.edges)


def proof_statement(proof: ErasureProof) -> bytes:
    """Return the bytes that the gateway signs: the proof without its signature, as JSON in the order of its fields."""
    return FORMAT.encode() + b"\n" + msgspec.json.encode(msgspec.structs.replace(proof, signature=""))


def sign_proof(proof: ErasureProof, key: GatewayKey) -> ErasureProof:
    """Return the proof signed by the gateway."""
    named = msgspec.structs.replace(proof, gateway_key=key.public_key, signature="")
    return msgspec.structs.replace(named, signature=key.sign(proof_statement(named)))


def read_proof(content: bytes) -> ErasureProof:
    """Return the proof that a file holds.

    Raises:
        InvalidInput: it holds none.
    """
    try:
        return msgspec.json.decode(content, type=ErasureProof)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput("receipt", f"this is no proof of an erasure ({error})") from error


def faults_of_proof(proof: ErasureProof, *, gateway_key: str | None = None) -> list[str]:
    """Return what is wrong with a proof: wrong or missing signatures, receipts of others. Nothing means that it holds.

    Args:
        proof: what to check.
        gateway_key: the gateway's public key as known from elsewhere; without it only the proof's own is used.
    """
    faults = []
    if gateway_key is not None and proof.gateway_key != gateway_key:
        faults.append("another gateway signed it")
    if not signed_by(proof.gateway_key, proof.signature, proof_statement(proof)):
        faults.append("the gateway's signature does not fit: it was changed")
    for edge in proof.edges:
        if edge.state == "erased" and not edge.receipts:
            faults.append(f"edge {edge.edge_id!r} is said to have erased and gave no receipt")
        for receipt in edge.receipts:
            if (receipt.person_id, receipt.edge_id) != (proof.person_id, edge.edge_id):
                faults.append(f"receipt {receipt.id!r} is about another person or edge")
            if not signed_by(edge.public_key, receipt.signature, erasure_statement(receipt)):
                faults.append(f"receipt {receipt.id!r} was not signed by edge {edge.edge_id!r}")
    return faults


def fingerprint(public_key: str) -> str:
    """Return a short hex digest of a base64 key, for people to compare."""
    return hashlib.sha256(public_key.encode()).hexdigest()[:32]
