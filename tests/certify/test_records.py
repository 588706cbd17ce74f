"""Logs: ours and published ones, read, resumed after a kill, merged; a corrupt line is named by its number."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import pandas as pd
import pytest

from medadv.certify.records import Certificate, append_log, merge_logs, read_log, resume_log

PUBLISHED = "idx\tlabel\tpredict\tradius\tcorrect\ttime\n"
ONE = Certificate(
    index=3, label=2, predicted=2, radius=0.1 + 0.2, seconds=1.5, sigma=0.25, alpha=0.001, n0=100, count0=97,
    n=400, count=391, p_lower=1 / 3, plan="sequential", reason="certified", guarantee="fixed", head="zero-shot", seed=7,
    weights="ab12",
)  # fmt: skip
NONE = replace(ONE, index=4, predicted=-1, radius=0.0, p_lower=math.nan, reason="given up")


def published(tmp_path, *lines: str, header: str = PUBLISHED):
    path = tmp_path / "sigma_0.25"
    path.write_text(header + "".join(line + "\n" for line in lines))
    return path


def test_a_published_log(tmp_path):
    log = read_log(
        published(tmp_path, "0\t3\t3\t0.378\t1\t15.4", "20\t7\t-1\t0.0\t0\t15.6", "40\t4\t5\t0.341\t0\t1:02:03.5")
    )
    assert log.columns.tolist() == ["idx", "label", "predict", "radius", "correct", "time"]
    assert log["idx"].tolist() == [0, 20, 40]
    assert log["predict"].tolist() == [3, -1, 5]
    assert log["radius"].tolist() == [0.378, 0.0, 0.341]
    assert log["correct"].tolist() == [True, False, False]
    assert log["time"].tolist() == [15.4, 15.6, 3723.5]


@pytest.mark.parametrize(
    ("clock", "seconds"), [("0:00:15.400000", 15.4), ("12:00:01", 43_201), ("1 day, 0:00:02", 86_402), ("7", 7.0)]
)
def test_clocks(tmp_path, clock, seconds):
    assert read_log(published(tmp_path, f"0\t1\t1\t0.5\t1\t{clock}"))["time"].tolist() == [seconds]


def test_other_peoples_habits(tmp_path):
    # Spaces around the tabs and the negative radius one abstained for.
    log = read_log(published(tmp_path, "0 \t 1 \t -1 \t -0.2 \t 0 \t 3.0", "1 \t 1 \t 1 \t 0.3 \t 1 \t 3.0", ""))
    assert log["radius"].tolist() == [0.0, 0.3]
    # No time, a column of their own, windows' line ends, and no new line at the end.
    path = tmp_path / "other"
    path.write_bytes(
        b"idx\tlabel\tpredict\tradius\tcorrect\tnote\r\n5\t1\t1\t0.25\tTrue\thello\r\n6\t1\t0\t0.25\tFalse\tho"
    )
    log = read_log(path)
    assert log["note"].tolist() == ["hello", "ho"]
    assert log["correct"].tolist() == [True, False]
    assert log["time"].isna().all()


def test_correct_is_counted_again(tmp_path):
    # A running total where a yes or no should stand.
    path = published(tmp_path, "0\t1\t1\t0.5\t1\t1", "1\t1\t1\t0.5\t2\t1", "2\t1\t0\t0.5\t2\t1", "3\t1\t1\t0.5\t3\t1")
    with pytest.warns(UserWarning, match=r"`correct` is not `predict == label` in 3 of 4 lines; counted again") as told:
        log = read_log(path)
    assert told[0].filename == __file__
    assert log["correct"].tolist() == [True, True, False, True]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("1\t2\t2\tnought\t1\t1.0", "radius must be a number; got 'nought'"),
        ("1\t2\t2\tnan\t1\t1.0", "radius must be 0 or more"),
        ("1\t2\t2\tinf\t1\t1.0", "radius must be 0 or more"),
        ("1\t2\t2\t-0.5\t1\t1.0", "radius must be 0 or more"),
        ("1\t2\t2.5\t0.5\t1\t1.0", "predict must be a whole number; got '2.5'"),
        ("1\t2\t-7\t0.5\t1\t1.0", "-1 abstains"),
        ("1\t-1\t-1\t0.0\t1\t1.0", "classes count from 0"),
        ("1\t2\t-1\t0.5\t1\t1.0", "it abstains, yet has radius 0.5"),
        ("1\t2\t2\t0.5\t1", "5 fields where the header has 6"),
        ("1\t2\t2\t0.5\t1\t1.0\t9", "7 fields"),
        ("1\t2\t2\t0.5\t1\tsoon", "time must be a number"),
        ("\x00\x00\t2\t2\t0.5\t1\t1.0", "idx must be a whole number"),
        ("0\t2\t2\t0.5\t1\t1.0", "image 0 was in line 2 already"),
    ],
)
def test_a_corrupt_line_is_named_by_its_number(tmp_path, line, says):
    path = published(tmp_path, "0\t3\t3\t0.378\t1\t15.4", line, "40\t4\t4\t0.341\t1\t15.7")
    with pytest.raises(ValueError, match=f"Line 3 of sigma_0.25 is corrupt: .*{says}.*Mend the line"):
        read_log(path)


def test_files_that_are_no_logs(tmp_path):
    with pytest.raises(ValueError, match="holds no certificate, only a header"):
        read_log(published(tmp_path))
    with pytest.raises(ValueError, match="no column predict"):
        read_log(published(tmp_path, "1\t2", header="idx\tlabel\tradius\n"))
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError, match="no column idx"):
        read_log(tmp_path / "empty")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not text"):
        read_log(tmp_path / "binary")


def test_a_log_of_version_0_1_0_is_read_and_gone_on_with(tmp_path):
    text = (
        "idx\tlabel\tpredict\tradius\tcorrect\ttime\tsigma\talpha\tn0\tcount0\tn\tcount\tp_lower\tplan\treason\t"
        "guarantee\thead\tseed\tweights\n"
        "0\t1\t1\t0.30000000000000004\t1\t1.5\t0.25\t0.001\t100\t97\t400\t391\t0.9\tfixed n=400\tcertified\tfixed\t"
        "zero-shot\t7\tab12.cd34\n"
        "1\t0\t-1\t0.0\t0\t2.0\t0.25\t0.001\t100\t52\t400\t209\t0.4\tfixed n=400\tthe bound is not above one half\t"
        "prompt-frozen-at-x\ttuned\t7\tef56.ab78\n"
    )
    (tmp_path / "log.tsv").write_text(text)
    rows = read_log(tmp_path / "log.tsv").to_dict("records")
    made = [Certificate.from_row(row) for row in rows]
    assert [(one.predicted, one.label, one.correct, one.abstained) for one in made] == [
        (1, 1, True, False),
        (-1, 0, False, True),
    ]
    append_log(tmp_path / "again.tsv", made)
    assert (tmp_path / "again.tsv").read_text() == text


def test_ours_come_back_to_the_last_bit(tmp_path):
    path = append_log(tmp_path / "new" / "log.tsv", [ONE])
    append_log(path, [NONE])
    assert path.read_text().startswith(PUBLISHED.strip() + "\tsigma\t")
    log = read_log(path)
    back = Certificate.from_row(log.to_dict("records")[0])
    assert back.to_row() == ONE.to_row()
    assert back == ONE
    assert log["predict"].tolist() == [2, -1]
    assert math.isnan(log["p_lower"][1])
    # Other people's scripts read it as theirs.
    theirs = pd.read_csv(path, delimiter="\t")
    assert (theirs["correct"] & (theirs["radius"] >= 0.25)).tolist() == [1, 0]


@pytest.mark.parametrize("torn", [1, 20, -1])
def test_a_killed_run_goes_on(tmp_path, torn):
    path = append_log(tmp_path / "log.tsv", [ONE, NONE])
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rstrip().rfind(b"\n") + 1 + torn] if torn > 0 else whole[:-1])
    with pytest.raises(ValueError, match="Line 3 of log.tsv is (torn|corrupt)"):
        read_log(path)
    assert resume_log(path, seed=7, sigma=0.25)["idx"].tolist() == [3]
    append_log(path, [NONE])
    assert path.read_bytes() == whole


def test_appending_mends_too(tmp_path):
    path = append_log(tmp_path / "log.tsv", [ONE])
    whole = path.read_bytes()
    path.write_bytes(whole + b"4\t2\t-1\t0.")
    append_log(path, [NONE])
    assert read_log(path)["idx"].tolist() == [3, 4]
    path.write_bytes(whole[:10])  # killed inside the header
    assert len(resume_log(path)) == 0
    append_log(path, [ONE])
    assert path.read_bytes() == whole


def test_a_new_run_has_nothing_to_resume(tmp_path):
    assert len(resume_log(tmp_path / "none.tsv", seed=3)) == 0
    assert not (tmp_path / "none.tsv").exists()


def test_other_settings_are_not_resumed(tmp_path):
    path = append_log(tmp_path / "log.tsv", [ONE])
    with pytest.raises(ValueError, match=r"was written with seed = 7; this run has seed = 8"):
        resume_log(path, seed=8)
    with pytest.raises(ValueError, match="must be columns of a log; got 'speed'"):
        resume_log(path, speed=8)


def test_a_strangers_file_is_left_alone(tmp_path):
    for text in ("my diary, without a new line at its end", PUBLISHED + "0\t3\t3\t0.378\t1\t15.4"):
        path = tmp_path / "diary"
        path.write_text(text)
        for call in (lambda path=path: append_log(path, [ONE]), lambda path=path: resume_log(path)):
            with pytest.raises(ValueError, match="diary is not a log of this package"):
                call()
        assert path.read_text() == text


def test_texts_that_would_break_a_line(tmp_path):
    for bad in ("a\tb", "a\nb", "a\r"):
        with pytest.raises(ValueError, match="'head' of a record must not hold a tab or a new line"):
            append_log(tmp_path / "log.tsv", [ONE, replace(ONE, head=bad)])
    assert not (tmp_path / "log.tsv").exists()


def test_shards_merge_to_the_same_log_whoever_wrote_which(tmp_path):
    records = [replace(ONE, index=i, head=head) for i in range(7) for head in ("b", "a")]
    merged = []
    for world in (1, 2, 3):
        parts = [append_log(tmp_path / f"{world}.{rank}", records[rank::world]) for rank in range(world)]
        log = merge_logs(parts[::-1], file=tmp_path / f"{world}.tsv")
        assert log["idx"].tolist() == [*range(7), *range(7)]
        merged.append((tmp_path / f"{world}.tsv").read_bytes())
    assert merged[0] == merged[1] == merged[2]
    pd.testing.assert_frame_equal(read_log(tmp_path / "3.tsv"), log)


def test_merging_what_does_not_belong_together(tmp_path):
    first = append_log(tmp_path / "a", [ONE])
    same = append_log(tmp_path / "b", [replace(ONE, seconds=9.0)])
    assert len(merge_logs([first, same], file=tmp_path / "all")) == 1
    other = append_log(tmp_path / "c", [replace(ONE, count=390)])
    with pytest.raises(ValueError, match="two different certificates for image 3"):
        merge_logs([first, other], file=tmp_path / "all")
    with pytest.raises(ValueError, match="is not a log of this package"):
        merge_logs([first, published(tmp_path, "0\t3\t3\t0.378\t1\t15.4")], file=tmp_path / "all")
    with pytest.raises(ValueError, match="'paths' parameter"):
        merge_logs([], file=tmp_path / "all")


def test_nothing_is_said_of_a_good_log(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_log(append_log(tmp_path / "log.tsv", [ONE, NONE]))
