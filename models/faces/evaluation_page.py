"""The page of an evaluation of faces: one HTML file with plots, nothing fetched and no script, to be mailed and kept."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from typing import Any, Final

import matplotlib as mpl
import msgspec
from matplotlib.figure import Figure
from PIL import Image, ImageOps, UnidentifiedImageError

from models.calibration import MAX_FPIR
from models.faces.evaluation import BIN, ErrorPoint, Rate
from models.faces.evaluation_report import Report, counted, failed, percent, shown_points

THUMBNAIL_PX: Final = 96
LEFT_OUT: Final = "left out: "
_BLUE, _ORANGE, _GREY = "#0b5cad", "#b35900", "#57606a"
_LINE: Final = "#d8dee4"
_MARK_EVERY: Final = 5
_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}"
    "table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}th,td{padding:.35rem .6rem;text-align:left;"
    "border-bottom:1px solid #d8dee4;font-variant-numeric:tabular-nums}figure{margin:1rem 0}"
    "figcaption,.note{color:#57606a}.faces{display:flex;flex-wrap:wrap;gap:.8rem}.faces figure{margin:0;width:8rem}"
    ".faces figcaption{font-size:12px;overflow-wrap:anywhere}.none{color:#a40e26}svg{max-width:100%;height:auto}"
)


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """Show one picture that failed: why, where it lies, and a small PNG; empty where it cannot be read."""

    reason: str
    name: str
    picture: bytes


def thumbnail(content: bytes) -> bytes:
    """Return a small PNG of a picture that somebody gave; empty bytes where it cannot be read."""
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG", "PNG"]) as image:
            image.draft("RGB", (THUMBNAIL_PX * 2, THUMBNAIL_PX * 2))
            small = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        return b""
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    target = io.BytesIO()
    small.save(target, "PNG")
    return target.getvalue()


def page(report: Report, samples: Sequence[Sample]) -> str:
    """Return the report as one HTML page."""
    parts = [
        "<h1>Evaluation of faces</h1>",
        f"<p class=note>{html.escape(f'{report.at:%Y-%m-%d %H:%M} UTC, {report.machine}, {report.contract}')}</p>",
        f"<p>{html.escape(report.note)}</p>",
        *_pictures(report, samples),
        *_verification(report),
        *_identification(report),
        *_missing(report),
    ]
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>Evaluation of faces</title><style>{_STYLE}</style>"
    return f"{head}<body>{''.join(parts)}</body></html>\n"


def _pictures(report: Report, samples: Sequence[Sample]) -> list[str]:
    speed = report.throughput
    took = f"{speed.took_s:.1f} s on {counted(speed.threads, 'thread')}"
    out = [one.removeprefix(LEFT_OUT) for one in report.warnings if one.startswith(LEFT_OUT)]
    rows = [
        ("persons", str(report.persons)),
        ("pictures", f"{report.pictures}, of which {report.usable} usable at a door"),
        *failed(report),
        ("left out", "; ".join(out) or "nothing"),
        *(("look at", one) for one in report.warnings if not one.startswith(LEFT_OUT)),
        ("time", f"{took}: {speed.pictures / max(speed.took_s, 1e-9):.1f} pictures/s"),
    ]  # fmt: skip
    shown = [_sample(one) for one in samples]
    return ["<h2>Pictures</h2>", _table((), rows), f"<div class=faces>{''.join(shown)}</div>" if shown else ""]


def _sample(sample: Sample) -> str:
    source = base64.b64encode(sample.picture).decode()
    picture = f'<img alt="" src="data:image/png;base64,{source}">' if sample.picture else "<em>unreadable</em>"
    return f"<figure>{picture}<figcaption>{html.escape(f'{sample.reason}: {sample.name}')}</figcaption></figure>"


def _verification(report: Report) -> list[str]:
    measured, evidence = report.measured, report.evidence
    rows = [(f"{point.radius:.2f}", percent(point.fmr), percent(point.fnmr)) for point in shown_points(report)]
    compared = (
        f"{measured.genuine:,} genuine and {measured.impostor:,} impostor comparisons of single pictures; intervals of 95 % "
        f"over {evidence.persons:,} persons and {counted(evidence.pairs, 'pair')} of them, each counting the same."
    )
    return [
        "<h2>One against one</h2>", f"<p>{compared}</p>",
        _table(("radius", "FMR: strangers matched", "FNMR: the right person missed"), rows),
        _figure(_trade_off(measured.points), "Detection error trade-off, by radius. A rate of nothing lies on the border."),
        _figure(_by_radius(measured.points), "Both errors over the radius, with 95 % bands."),
        _figure(_histogram(report), "Distances of single pictures, each side by its own number of comparisons."),
    ]  # fmt: skip


def _identification(report: Report) -> list[str]:
    rows = [
        (
            f"{one.people:,}",
            f"{one.suggested:.2f}"
            if one.suggested
            else f"not measured: asks for {one.needed_pairs:,} pairs of persons",
            f"{one.radius:.2f}",
            percent(one.fpir),
            percent(one.fnir),
            f"{one.fpir_at_most * 100:.3g} %",
        )
        for one in report.measured.identification
    ]
    head = (
        "N",
        f"radius for FPIR of {MAX_FPIR:.1%}",
        "at radius",
        "FPIR",
        "FNIR",
        "FPIR at most, by the FMR's bound",
    )
    told = (
        "A gallery of N persons with one template each. A radius is suggested only where the evidence carries it: counted "
        f"among {report.evidence.persons:,} persons, {counted(report.evidence.pairs, 'pair')} of them."
    )
    return [
        "<h2>One against N</h2>",
        f"<p>{html.escape(told)}</p>",
        _table(head, rows),
    ]


def _missing(report: Report) -> list[str]:
    if not report.measured.not_measured:
        return []
    items = "".join(f"<li>{html.escape(what)}</li>" for what in report.measured.not_measured)
    return ["<h2>Not measured</h2>", f"<ul class=none>{items}</ul>"]


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = "".join(f"<th scope=col>{html.escape(one)}</th>" for one in head)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{f'<thead><tr>{titles}</tr></thead>' if titles else ''}<tbody>{body}</tbody></table>"


def _figure(drawn: str, caption: str) -> str:
    return f"<figure>{drawn}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _trade_off(points: Sequence[ErrorPoint]) -> str:
    """Draw the detection error trade-off: FMR across, FNMR up, both logarithmic; rates of nothing lie on the border."""
    measured = [(point.radius, point.fmr, point.fnmr) for point in points if point.fnmr is not None]
    if not measured:
        return "<p class=none>not measured: nobody has a second usable picture</p>"
    left, bottom = _floor(fmr for _, fmr, _ in measured), _floor(fnmr for _, _, fnmr in measured)
    across = [max(fmr.value, left) for _, fmr, _ in measured]
    up = [max(fnmr.value, bottom) for _, _, fnmr in measured]
    figure, axes = _axes()
    axes.plot(across, up, color=_BLUE, linewidth=1.6)
    for x, y, (radius, _, _) in zip(across, up, measured, strict=True):
        if round(radius * 100) % _MARK_EVERY == 0 and y < 1.0 and (x > left or y > bottom):
            axes.plot([x], [y], marker="o", markersize=4, color=_BLUE, clip_on=False)
            axes.annotate(f"{radius:.2f}", (x, y), textcoords="offset points", xytext=(6, 5), fontsize=8, color=_GREY)
    axes.set(xscale="log", yscale="log", xlabel="FMR", ylabel="FNMR", xlim=(left, 1), ylim=(bottom, 1.1))
    axes.grid(visible=True, which="major", color=_LINE, linewidth=0.6)
    return _svg(figure)


def _by_radius(points: Sequence[ErrorPoint]) -> str:
    """Draw both errors over the radius, with their bands."""
    figure, axes = _axes()
    false = [(point.radius, point.fmr) for point in points]
    missed = [(point.radius, point.fnmr) for point in points if point.fnmr is not None]
    floor = _floor(rate for _, rate in false)
    for rates, colour, name in ((false, _ORANGE, "FMR"), (missed, _BLUE, "FNMR")):
        radii = [radius for radius, _ in rates]
        lows, highs = ([max(getattr(rate, end), floor) for _, rate in rates] for end in ("low", "high"))
        axes.fill_between(radii, lows, highs, color=colour, alpha=0.15, linewidth=0)
        axes.plot(radii, [max(rate.value, floor) for _, rate in rates], color=colour, linewidth=1.6, label=name)
    axes.set(yscale="log", xlabel="radius", ylabel="error", xlim=(0.1, 0.6), ylim=(floor, 1.1))
    axes.grid(visible=True, which="major", color=_LINE, linewidth=0.6)
    axes.legend(frameon=False)
    return _svg(figure)


def _floor(rates: Iterable[Rate]) -> float:
    """Return where a rate of nothing is drawn: below the smallest that so many persons or pairs can show."""
    known = list(rates)
    return min([0.01, 0.3 / known[0].over, *(rate.value / 3 for rate in known if rate.value > 0)])


def _histogram(report: Report) -> str:
    figure, axes = _axes()
    for counts, colour, name in (
        (report.measured.genuine_histogram, _BLUE, "one person"),
        (report.measured.impostor_histogram, _ORANGE, "two persons"),
    ):
        total = max(1, sum(counts))
        edges = [index * BIN for index in range(len(counts) + 1)]
        axes.stairs([count / total for count in counts], edges, color=colour, fill=True, alpha=0.45, label=name)
    axes.set(xlabel="distance", ylabel="share of comparisons", xlim=(0, 1.4))
    axes.legend(frameon=False)
    return _svg(figure)


def _axes() -> tuple[Figure, Any]:
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    target = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "gatehouse", "font.family": "sans-serif"}):
        figure.savefig(target, format="svg", metadata={"Date": None})
    text = target.getvalue()
    return text[text.index("<svg") :]
