"""The notices that ship with Gatehouse, in Chinese and English, with every field that the law asks for (R2).

A site fills in who handles the data and how to reach them, and publishes the notice under a version of its own. They
are no legal advice. Sources: PIPL articles 17 and 30, FRM article 5, NDR article 21.
"""

from __future__ import annotations

from models.notices import NoticeText
from models.people import Purpose

_RIGHTS_ZH = "可随时在物业办公室或手机页面撤回同意、查阅、更正、导出和删除；撤回与同意同样方便。"
_RIGHTS_EN = (
    "At the property office or on the phone page you may withdraw, look at, correct, export and delete at any time; "
    "withdrawing is as easy as giving."
)


def shipped_notice(purpose: Purpose, *, handler: str, contact: str) -> tuple[NoticeText, NoticeText]:
    """Return the Chinese and the English text that ship for a purpose, for a handler of personal information."""
    zh, en = _FACE if purpose == "door_face" else _PHOTO
    return (
        NoticeText(handler=handler, contact=contact, rights_route=_RIGHTS_ZH, **zh),
        NoticeText(handler=handler, contact=contact, rights_route=_RIGHTS_EN, **en),
    )


_FACE = (
    {
        "purpose": "仅用于在同意书列明的门前，经您主动操作后核对身份并开门。",
        "method": "从一张照片提取人脸特征（敏感个人信息），加密保存在本小区的边缘节点，不上传、不离开本小区；照片在提取后即删除。",
        "retention": "保存至您撤回同意、同意到期、搬离或一年未使用为止；撤回后五秒内停止比对，二十四小时内删除。",
        "necessity": "您选择刷脸开门时，核对身份必须用到人脸特征；不选择刷脸则不需要。刷脸不是唯一方式。",
        "impact": "人脸特征泄露可能被用于冒充，因此分人加密、按门限定。不同意不影响使用卡、密码或二维码通行。",
    },
    {
        "purpose": "Only to check who you are at the doors named in the consent, after an act of yours, and to open them.",
        "method": (
            "A face template (sensitive personal information) is made from one photo and kept encrypted on the edge boxes "
            "of this compound; it is not uploaded and does not leave the compound. The photo is deleted at once."
        ),
        "retention": (
            "Until you withdraw, the consent ends, you move out, or a year without use. After a withdrawal matching stops "
            "within five seconds and the template is destroyed within twenty-four hours."
        ),
        "necessity": (
            "If you choose to open doors by face, checking needs your template; if you do not, it is not needed. Face is "
            "never the only way."
        ),
        "impact": (
            "A leaked template could help somebody pass as you, so each person's is encrypted apart and bound to doors. "
            "Refusing changes nothing about card, PIN or QR code."
        ),
    },
)
_PHOTO = (
    {
        "purpose": "仅用于在人脸特征需要重新提取时，不必请您再次拍照。",
        "method": "登记照片（敏感个人信息）加密保存在本小区内，不用于其他目的，不对外提供。",
        "retention": "保存至您撤回同意、人脸同意结束或搬离为止。",
        "necessity": "保存照片不是刷脸的必要条件；不同意时，照片在提取特征后即删除。",
        "impact": "照片泄露可能被用于冒充。不同意不影响刷脸、刷卡、密码或二维码通行。",
    },
    {
        "purpose": "Only to spare you another photo if your template has to be made anew.",
        "method": (
            "The enrolment photo (sensitive personal information) is kept encrypted within this compound, serves nothing "
            "else and is given to nobody."
        ),
        "retention": "Until you withdraw, the consent to faces ends, or you move out.",
        "necessity": "Keeping the photo is not needed for faces at doors; without this consent it is deleted at once.",
        "impact": "A leaked photo could help somebody pass as you. Refusing changes nothing about face, card, PIN or QR code.",
    },
)
