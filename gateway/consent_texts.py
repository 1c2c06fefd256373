"""The consent texts that ship with Gatehouse, by version: what exactly a person agreed to is proved by the text's SHA-256.

A site with a text of its own sends that text's digest with each consent. These texts are no legal advice.
"""

from __future__ import annotations

import hashlib

from models.errors import InvalidInput

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


def text_digest(version: str, given: str | None) -> str:
    """Return the SHA-256 of a consent text: the one given, which must agree with ours where we ship that version.

    Raises:
        InvalidInput: we do not ship this version and no digest was given, or the two differ.
    """
    text = TEXTS.get(version)
    own = None if text is None else hashlib.sha256(text.encode()).hexdigest()
    if given is None and own is None:
        known = ", ".join(TEXTS)
        raise InvalidInput(
            "text_sha256", f"send the SHA-256 of the text, or use a version that ships with Gatehouse: {known}"
        )
    if given is not None and own is not None and given != own:
        raise InvalidInput("text_sha256", f"this is not the digest of our text {version!r}")
    return given or own or ""
