"""The list of a site's cameras as it is filed with the police (Order 799 article 14), as plain Chinese text. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date

from gateway.place_views import RegisterRow
from models.places import CameraRegister, PlaceClass, Site

CLASSES: dict[PlaceClass, str] = {
    "public_art7": "公共场所（第七条）",
    "key_unit_art7": "重点单位（第七条）",
    "community_common": "小区公共区域",
    "private_common": "共有部位",
}


def filing_text(site: Site, rows: Iterable[RegisterRow], *, on: date) -> str:
    """Return the printable list of a site on a day: cameras with an entry, then those that stay off for want of one."""
    held = list(rows)
    lines = [
        "公共安全视频图像信息系统备案清单",
        f"小区：{site.name}（{site.id}）",
        f"地址：{site.address or '未登记'}",
        f"社区代码：{site.community}",
        f"打印日期：{on.isoformat()}",
        f"摄像机：{len(held)} 台，其中登记完整 {sum(row.complete for row in held)} 台",
    ]
    for number, row in enumerate((row for row in held if row.complete), 1):
        lines += ["", f"{number}. {row.name}（{row.camera_id}）", *(f"   {line}" for line in _entry(row, on=on))]
    off = [row for row in held if not row.complete]
    if off:
        lines += ["", "登记不完整、视频流保持关闭：", *(f"   {row.name}（{row.camera_id}）" for row in off)]
    return "\n".join(lines) + "\n"


def _entry(row: RegisterRow, *, on: date) -> Iterator[str]:
    entry = row.register
    if entry is None:
        return
    yield f"用途：{entry.purpose}"
    yield f"场所类别：{CLASSES[entry.place_class]}"
    yield f"提示标识确认：{entry.sign_confirmed_on.isoformat()}"
    yield "禁止安装区域检查：已完成（第八条）"
    yield f"隐私遮挡：{len(entry.privacy_masks)} 处"
    yield f"责任岗位：{entry.responsible or '未登记'}"
    yield _filed(entry, due=row.filing_due_on, on=on)


def _filed(entry: CameraRegister, *, due: date | None, on: date) -> str:
    if entry.filed_on is not None:
        return f"备案日期：{entry.filed_on.isoformat()}"
    late = "，已逾期" if due is not None and due < on else ""
    return f"备案期限：{due.isoformat() if due else '未定'}{late}"
