"""The consent texts that ship with Gatehouse, by version: what exactly a person agreed to is proved by the text's SHA-256.

A site that has published a notice (gateway.api.notices) uses that; one without may send the digest of a text of its own.
These texts are no legal advice.
"""

from __future__ import annotations

import hashlib

from gateway.store import Connection
from gateway.store.consents import notices_in_force
from models.errors import InvalidInput
from models.people import Purpose

TEXTS: dict[str, str] = {
    "face-door-1": (
        "我单独同意用我的人脸打开本同意书列明的门。人脸特征加密保存在本小区的边缘节点，不离开本小区，不用于其他目的。"
        "不同意不影响用卡、密码或二维码通行。我可以随时撤回，撤回后五秒内停止比对，人脸特征随即删除。\n"
        "I separately consent to my face opening the doors named in this consent. My template is kept encrypted on the edge "
        "of this compound, does not leave it, and serves nothing else. Refusing changes nothing about card, PIN or QR code. "
        "I may withdraw at any time: matching stops within five seconds and the template is destroyed."
    ),
    "face-door-demo-1": (
        "演示：人脸仅用于本机的模拟门，演示结束即删除。\n"
        "Demo: the face opens simulated doors of this machine only and is deleted when the demo ends."
    ),
}
DIGESTS: dict[str, str] = {version: hashlib.sha256(text.encode()).hexdigest() for version, text in TEXTS.items()}


def agreed_text(
    connection: Connection, site_id: str, *, purpose: Purpose, version: str, given: str | None
) -> str:  # fmt: skip
    """Return the SHA-256 of the text that a person agreed to: the site's notice, or one that ships with Gatehouse.

    Args:
        connection: a transaction.
        site_id: the site of the person.
        purpose: what the consent is about.
        version: the version that the person saw.
        given: the digest as the caller knows it; it must agree with ours.

    Raises:
        InvalidInput: a newer notice replaced it, we do not know the version and no digest was given, or the two differ.
    """
    notices = notices_in_force(connection, site_id, purpose=purpose)
    known = dict(reversed(notices)) if notices else DIGESTS
    own = known.get(version)
    if own is None and notices:
        raise InvalidInput("text_version", f"have the person read the notice in force: version {notices[0][0]!r}")
    if own is None and given is None:
        raise InvalidInput(
            "text_sha256",
            f"send the SHA-256 of the text, or use a version that ships with Gatehouse: {', '.join(TEXTS)}",
        )
    if given is not None and own is not None and given != own:
        raise InvalidInput("text_sha256", f"this is not the digest of our text {version!r}")
    return own or given or ""
