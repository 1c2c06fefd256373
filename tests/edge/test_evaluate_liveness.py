"""The evaluation of liveness counts what it says, shows its takes, and claims no more than they prove."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from config.portraits import portraits
from edge.evaluate_liveness import (
    FULL,
    ActReport,
    LivenessReport,
    Take,
    evaluate,
    main,
    page,
    remarks_on,
    reported,
    show,
    upper_rate,
)
from models.errors import InvalidInput
from models.faces.pipeline import FacePipeline

LIVE = Take(verdict="live", live_after_s=0.8)
ATTACK = Take(verdict="attack")
UNDECIDED = Take(verdict="undecided")


@pytest.mark.parametrize(
    ("errors", "takes", "upper"), [(0, 59, 0.0495), (0, 1, 0.95), (1, 93, 0.0500), (5, 59, 0.1699), (7, 7, 1.0)]
)
def test_the_upper_bound_is_clopper_and_pearsons(errors: int, takes: int, upper: float) -> None:
    assert upper_rate(errors, takes) == pytest.approx(upper, abs=5e-4)
    assert upper_rate(0, FULL) < 0.05 < upper_rate(0, FULL - 1)


def test_an_attack_that_is_believed_and_a_head_that_is_not_are_errors() -> None:
    attack = reported("print_bent", [LIVE, ATTACK, UNDECIDED, UNDECIDED])
    assert (attack.species, attack.live, attack.attack, attack.undecided, attack.error_rate) == ("print", 1, 1, 2, 0.25)
    head = reported("head", [LIVE, LIVE, ATTACK, UNDECIDED])
    assert (head.species, head.error_rate, head.median_s) == (None, 0.5, 0.8)
    assert reported("screen", [ATTACK]).median_s is None


def _report(*rows: ActReport) -> LivenessReport:
    return LivenessReport(
        provider="parallax", photographs=2, seed=7, acts=rows, worst={"print": 0.25}, remarks=("x<y",)
    )


def test_the_page_holds_figures_and_pictures_and_fetches_nothing() -> None:
    shown = page(_report(reported("print_bent", [LIVE, ATTACK, UNDECIDED, UNDECIDED])), {"print_bent": b"jpeg"})
    assert "25.0%" in shown
    assert "bent print" in shown
    assert "x&lt;y" in shown
    assert "base64,anBlZw==" in shown
    assert "http" not in shown


def test_takes_are_watched_and_few_of_them_are_said_to_prove_little(
    tmp_path: Path,
) -> None:
    told: list[str] = []
    pipeline = FacePipeline(cache_dir=tmp_path, threads=1)
    report = evaluate([portraits()["biden.jpg"]], pipeline=pipeline, acts=("head", "print"), takes=1, seed=201)
    head, sheet = report.acts
    assert (head.live, sheet.live) == (1, 0)
    assert report.worst == {"print": 0.0}
    show(report, told.append)
    assert any("BPCER   0.0%, at most  95.0%" in line for line in told)
    assert any("Not measured to 5 %: only 1 takes" in line for line in told)
    assert msgspec.json.decode(msgspec.json.encode(report), type=LivenessReport) == report
    with pytest.raises(InvalidInput, match="at least one portrait"):
        evaluate([], pipeline=pipeline, acts=("head",), takes=1, seed=1)


def test_what_was_believed_is_named() -> None:
    said = remarks_on([reported("screen", [LIVE] * FULL), reported("head", [LIVE] * FULL)])
    assert any("Not refused: screen that replays a turning head, 59 of 59" in line for line in said)
    assert not any("Not measured" in line for line in said)


def test_wrong_arguments_and_pictures_end_with_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--takes", "0"])
    no_picture = tmp_path / "none.jpg"
    arguments = ["--photo", str(no_picture), "--takes", "1", "--act", "head", "--cache-dir", str(tmp_path)]
    assert main(arguments) == 1
    assert "cannot be read as a picture" in capsys.readouterr().err


def test_the_command_writes_figures_and_pictures(tmp_path: Path) -> None:
    figures, shown = tmp_path / "liveness.json", tmp_path / "liveness.html"
    arguments = ["--photo", str(portraits()["biden.jpg"]), "--takes", "1", "--act", "print", "--seed", "5"]
    assert main([*arguments, "--cache-dir", str(tmp_path), "--json", str(figures), "--html", str(shown)]) == 0
    report = msgspec.json.decode(figures.read_bytes(), type=LivenessReport)
    assert [row.act for row in report.acts] == ["print"]
    assert np.isfinite(report.acts[0].upper)
    assert shown.read_text("utf-8").count("data:image/jpeg;base64,") == 1
