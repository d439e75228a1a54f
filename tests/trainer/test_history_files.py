from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from config.streams import Channel
from config.training import History as HistorySettings
from detector.history import History
from tests.trainer.examples import write
from trainer.history_files import read_each, read_histories
from trainer.problems import Unreadable, Unusable

SETTINGS = HistorySettings()
NOON = 1_767_528_000_000  # 2026-01-04T12:00:00Z


def read(*paths: Path, machine: str | None = None, settings: HistorySettings = SETTINGS) -> list[History]:
    return read_histories(paths, settings, machine=machine)


def cells(history: History) -> list[list[float]]:
    rows: list[list[float]] = np.asarray(history.values).tolist()
    return rows


def problems(*paths: Path, machine: str | None = None, settings: HistorySettings = SETTINGS) -> list[str]:
    """What is wrong with files, without their folder."""
    with pytest.raises(Unusable) as caught:
        read(*paths, machine=machine, settings=settings)
    return [problem.replace(f"{paths[0].parent}/", "") for problem in caught.value.problems]


def test_every_numeric_column_but_time_and_label_is_a_sensor(tmp_path: Path) -> None:
    path = write(
        tmp_path / "press-7.csv",
        "timestamp,flow,pressure,label",
        "2026-01-04T12:00:00Z,1.5,3,0",
        "2026-01-04T12:00:01Z,,4,1",
        "2026-01-04T12:00:02Z,2.5,nan,",
    )
    (history,) = read(path)
    assert (history.machine, history.sensors) == ("press-7", ("flow", "pressure"))
    assert history.at.tolist() == [NOON, NOON + 1000, NOON + 2000]
    np.testing.assert_array_equal(history.values, [[1.5, 3], [np.nan, 4], [2.5, np.nan]])
    assert history.label is not None
    assert history.label.tolist() == [0, 1, -1]


def test_a_history_without_a_label_column_has_no_labels(tmp_path: Path) -> None:
    (history,) = read(write(tmp_path / "a.csv", "timestamp,flow", "0,1"))
    assert history.label is None


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("2026-01-04T12:00:00.123Z", NOON + 123),
        ("2026-01-04T12:00:00.123456+00:00", NOON + 123),
        ("2026-01-04T14:00:00+02:00", NOON),
        ("2026-01-04 12:00:00", NOON),
        ("2026-01-04", NOON - 43_200_000),
        (f"{NOON // 1000}", NOON),
        (f"{NOON // 1000}.25", NOON + 250),
        (f"{NOON}", NOON),
        ("0", 0),
        ("1.5", 1500),
    ],
)
def test_a_time_is_iso_8601_or_epoch_seconds_or_milliseconds(
    tmp_path: Path, cell: str, expected: int
) -> None:
    (history,) = read(write(tmp_path / "a.csv", "timestamp,flow", f"{cell},1"))
    assert history.at.tolist() == [expected]


def test_times_of_several_zones_and_none_may_be_mixed(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv",
        "timestamp,flow",
        "2026-01-04T12:00:00,1",
        "2026-01-04T14:00:01+02:00,2",
        "2026-01-04T12:00:02.500Z,3",
    )
    assert read(path)[0].at.tolist() == [NOON, NOON + 1000, NOON + 2500]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_separator_is_the_one_that_the_header_uses(tmp_path: Path, separator: str) -> None:
    lines = [separator.join(line) for line in (("timestamp", "flow", "load"), ("0", "1", "2"))]
    (history,) = read(write(tmp_path / "a.csv", *lines))
    assert history.sensors == ("flow", "load")


def test_gzip_and_parquet_hold_the_same_history_as_csv(tmp_path: Path) -> None:
    text = "timestamp,flow,label\n2026-01-04T12:00:00Z,1.5,0\n2026-01-04T12:00:01Z,,1\n"
    (tmp_path / "a.csv").write_text(text)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    frame = pd.read_csv(tmp_path / "a.csv", parse_dates=["timestamp"])
    frame.to_parquet(tmp_path / "a.parquet")
    frame.set_index("timestamp").to_parquet(tmp_path / "indexed.parquet")
    expected = read(tmp_path / "a.csv")[0]
    for name in ("a.csv.gz", "a.parquet", "indexed.parquet"):
        (history,) = read(tmp_path / name, machine="a")
        assert history.machine == "a"
        assert history.sensors == expected.sensors
        np.testing.assert_array_equal(history.at, expected.at)
        np.testing.assert_array_equal(history.values, expected.values)
        assert history.label is not None
        assert expected.label is not None
        np.testing.assert_array_equal(history.label, expected.label)


def test_a_machine_column_splits_the_rows_and_keeps_leading_zeros(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "timestamp,machine,flow", "0,007,1", "1,9,2", "2,007,3")
    histories = read(path)
    assert [(h.machine, cells(h)) for h in histories] == [("007", [[1], [3]]), ("9", [[2]])]


def test_a_machine_that_is_named_takes_only_its_rows_of_a_file_with_machines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "timestamp,machine,flow", "0,a,1", "1,b,2")
    assert [(h.machine, len(h)) for h in read(path, machine="b")] == [("b", 1)]
    assert problems(path, machine="c") == ["a.csv: must hold rows of machine c, got none"]


def test_files_of_one_machine_are_joined_in_order_of_time(tmp_path: Path) -> None:
    later = write(tmp_path / "later.csv", "timestamp,load,flow", "10,1,2", "11,3,4")
    first = write(tmp_path / "first.csv", "timestamp,flow,load,label", "0,5,6,0", "1,7,8,1")
    told: list[str] = []
    (history,) = read_histories([later, first], SETTINGS, machine="press-7", note=told.append)
    assert history.at.tolist() == [0, 1000, 10_000, 11_000]
    assert history.sensors == ("load", "flow")
    assert cells(history) == [[6, 5], [8, 7], [1, 2], [3, 4]]
    assert history.label is not None
    assert history.label.tolist() == [0, 1, -1, -1]
    assert told == ["press-7: rows were sorted by time, which went back 1 time"]


def test_rows_of_one_time_keep_their_order(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "timestamp,flow", *(f"{9 - row // 50},{row}" for row in range(100)))
    (history,) = read(path)
    assert cells(history) == [[float(row)] for row in (*range(50, 100), *range(50))]


def test_columns_can_be_renamed_and_ignored(tmp_path: Path) -> None:
    settings = HistorySettings(
        time_column="ts", machine_column="m", label_column="y", ignore_columns=("operator",)
    )
    path = write(tmp_path / "a.csv", "ts,m,y,operator,machine", "0,x,1,Ada,5")
    (history,) = read(path, settings=settings)
    assert (history.machine, history.sensors, cells(history)) == ("x", ("machine",), [[5]])


def test_words_for_a_missing_value_are_no_value_of_a_sensor(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "timestamp,flow,label", "0,n/a,0", "1,NaN,NA", "2,,null")
    (history,) = read(path)
    assert np.isnan(history.values).all()
    assert history.label is not None
    assert history.label.tolist() == [0, -1, -1]


def test_empty_lines_and_a_separator_at_the_end_of_lines_mean_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "timestamp, flow ,", "0,1,", "", "1, 2,", "", "")
    (history,) = read(path)
    assert (history.sensors, cells(history)) == (("flow",), [[1], [2]])


def test_a_separator_that_only_the_header_has_at_its_end_and_empty_last_cells_mean_nothing(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "a.csv", "timestamp,flow,load,", "0,1,2", "", "1,2,", '2,"3",,', ",,")
    np.testing.assert_array_equal(read(path)[0].values, [[1, 2], [2, np.nan], [3, np.nan]])


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            ["timestamp,flow", "0,1", "1,broken", "2,worse"],
            (
                'column flow: must hold finite numbers, got "broken" in line 3 (and 1 more); '
                "readings.channels declares what is no plain number, history.ignore_columns leaves it out"
            ),
        ),
        (
            ["timestamp,flow", "0,1", "", "1,inf"],
            (
                "column flow: must hold finite numbers, got Infinity in line 4; "
                "history.ignore_columns leaves it out"
            ),
        ),
        (
            ["timestamp;flow", "0;1,5"],
            'column flow: must hold finite numbers, got "1,5" in line 2; write numbers with a decimal point',
        ),
        (
            ["timestamp,on", "0,True"],
            (
                "column on: must hold finite numbers, got true in line 2; "
                "readings.channels declares what is no plain number, history.ignore_columns leaves it out"
            ),
        ),
        (
            ["timestamp,flow", "2026-01-04T12:00:00Z,1", "04.01.2026 12:00,1"],
            (
                "column timestamp: must hold times (ISO 8601, or epoch seconds or milliseconds), "
                'got "04.01.2026 12:00" in line 3'
            ),
        ),
        (
            ["timestamp,flow", "0,1", ",1"],
            (
                "column timestamp: must hold times (ISO 8601, or epoch seconds or milliseconds), "
                "got an empty cell in line 3"
            ),
        ),
        (
            ["timestamp,flow", "1767528000000000000,1"],
            (
                "column timestamp: must hold times (ISO 8601, or epoch seconds or milliseconds), "
                "got 1767528000000000000 in line 2"
            ),
        ),
        (
            ["timestamp,flow,label", "0,1,2"],
            "column label: must hold 0 (normal), 1 (anomalous) or -1 (unknown), got 2 in line 2",
        ),
        (
            ["timestamp,flow,machine", "0,1,a", "1,1,"],
            "column machine: must hold the name of a machine, got an empty cell in line 3",
        ),
        (["timestamp,label", "0,1"], "must have a column per sensor, got none beside timestamp, label"),
        (
            ["time stamp,flow", "0,1"],
            (
                "must have a column timestamp, got time stamp, flow; is it time stamp? "
                "history.time_column names it"
            ),
        ),
        (
            ["ts,flow", "0,1"],
            "must have a column timestamp, got ts, flow; history.time_column names it",
        ),
        (["timestamp,flow"], "must have rows, got none"),
        (["timestamp,flow,flow", "0,1,2"], "column flow: must occur once, got 2 of that name"),
        (
            [",timestamp,flow", "0,0,1"],
            "column 1: must have a name, got none; pandas writes no row numbers with index=False",
        ),
        (
            ["timestamp,flow", "0,1", "1,2,3"],
            "must have a field for each of 2 columns in every line, got: Expected 2 fields in line 3, saw 3",
        ),
        (
            ["timestamp,flow", "0,1,2"],
            (
                "must have a field for each of 2 columns in every line, "
                "got: more fields than names in every line"
            ),
        ),
        (
            ["timestamp,flow,load", "0,1,2", "", "1,2", "2", "3,4,5"],
            (
                "must have a field for each of 3 columns in every line, "
                "got: Expected 3 fields in line 4, saw 2 (and 1 more)"
            ),
        ),
        (
            ["timestamp,note,flow", '0,"a', 'b",2', "1,2"],
            "must have a field for each of 3 columns in every line, got: Expected 3 fields in line 4, saw 2",
        ),
        (
            ["timestamp,flow", "0,1", "n/a,1", "2,1"],
            (
                "column timestamp: must hold times (ISO 8601, or epoch seconds or milliseconds), "
                'got "n/a" in line 3'
            ),
        ),
        ([""], "must begin with a line of column names, got an empty one"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_place(tmp_path: Path, lines: list[str], expected: str) -> None:
    assert problems(write(tmp_path / "a.csv", *lines)) == [f"a.csv: {expected}"]


def test_all_problems_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    one = write(tmp_path / "one.csv", "timestamp,flow,load", "x,y,z")
    two = write(tmp_path / "two.csv", "flow", "1")
    assert problems(one, two) == [
        (
            "one.csv: column timestamp: must hold times (ISO 8601, or epoch seconds or milliseconds), "
            'got "x" in line 2'
        ),
        (
            'one.csv: column flow: must hold finite numbers, got "y" in line 2; '
            "readings.channels declares what is no plain number, history.ignore_columns leaves it out"
        ),
        (
            'one.csv: column load: must hold finite numbers, got "z" in line 2; '
            "readings.channels declares what is no plain number, history.ignore_columns leaves it out"
        ),
        "two.csv: must have a column timestamp, got flow; history.time_column names it",
    ]


def test_files_of_one_machine_must_have_the_same_sensors(tmp_path: Path) -> None:
    one = write(tmp_path / "one.csv", "timestamp,flow,load", "0,1,1")
    two = write(tmp_path / "two.csv", "timestamp,flow,Load", "1,1,1")
    assert problems(one, two, machine="press-7") == [
        (
            "two.csv: must have the sensors of one.csv, as both are of machine press-7, "
            "got no load, Load too; history.ignore_columns leaves columns out"
        )
    ]
    assert [history.machine for history in read(one, two)] == ["one", "two"]


def test_a_bad_cell_of_parquet_is_named_by_its_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pd.DataFrame({"timestamp": [0, 1], "flow": ["1", "much"]}).to_parquet(path)
    assert problems(path) == [
        (
            'a.parquet: column flow: must hold finite numbers, got "much" in row 2; '
            "readings.channels declares what is no plain number, history.ignore_columns leaves it out"
        )
    ]


def test_a_bad_cell_is_the_matter_of_its_row_s_machine_alone(tmp_path: Path) -> None:
    path = write(
        tmp_path / "hall.csv",
        "timestamp,machine,flow,load",
        "0,good,1,1",
        "never,late,1,1",
        "0,bad,1,much",
        "1,good,2,2",
        "1,bad,many,more",
        "1,late,2,2",
    )
    found, wrong = read_each([path], SETTINGS)
    ((history, files),) = found
    assert (history.machine, files) == ("good", (path,))
    np.testing.assert_array_equal(history.values, [[1, 1], [2, 2]])
    leaves = "readings.channels declares what is no plain number, history.ignore_columns leaves it out"
    times = "must hold times (ISO 8601, or epoch seconds or milliseconds)"
    assert wrong == {
        "bad": (
            f'{path}: column flow: must hold finite numbers, got "many" in line 6; {leaves}',
            f'{path}: column load: must hold finite numbers, got "much" in line 4 (and 1 more); {leaves}',
        ),
        "late": (f'{path}: column timestamp: {times}, got "never" in line 3',),
    }
    assert len(problems(path)) == 3, "told of the file as a whole, where machines share a model"


def test_a_row_that_names_no_machine_may_be_of_any_in_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "hall.csv", "timestamp,machine,flow", "0,a,1", "0,,1", "0,b,1")
    other = write(tmp_path / "c.csv", "timestamp,flow", "0,1")
    found, wrong = read_each([path, other], SETTINGS)
    assert [(history.machine, files) for history, files in found] == [("c", (other,))]
    (problem,) = {*wrong["a"], *wrong["b"]}
    assert "column machine: must hold the name of a machine, got an empty cell in line 3" in problem


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("timestamp,temperature °C\n0,1\n".encode("latin-1"))
    assert problems(path) == ["a.csv: must be UTF-8 text, got b'\\xb0'"]


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path / "a.xlsx") == ["a.xlsx: must be a .csv, .csv.gz or .parquet file, got .xlsx"]


def test_what_cannot_be_read_is_told_apart_from_what_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "half.csv.gz").write_bytes(gzip.compress(b"timestamp,flow\n0,1\n" * 99)[:30])
    (tmp_path / "no.parquet").write_bytes(b"timestamp,flow\n0,1\n")
    names = ("none.csv", "folder.csv", "half.csv.gz", "no.parquet")
    with pytest.raises(Unreadable) as caught:
        read(write(tmp_path / "bad.csv", "x", "y"), *(tmp_path / name for name in names))
    none, folder, half, parquet = caught.value.problems
    assert none == f"{tmp_path}/none.csv: cannot be read: No such file or directory"
    assert folder == f"{tmp_path}/folder.csv: cannot be read: Is a directory"
    assert half.startswith(f"{tmp_path}/half.csv.gz: cannot be read: Compressed file ended")
    assert parquet.startswith(f"{tmp_path}/no.parquet: cannot be read: ")
    assert isinstance(caught.value, OSError)


CHANNELS = {"mode": Channel("category"), "open": Channel("binary"), "energy": Channel("counter")}


def declared(path: Path) -> History:
    (history,) = read_histories([path], SETTINGS, channels=CHANNELS)
    return history


def test_categories_and_switches_are_read_as_the_daemon_reads_them(tmp_path: Path) -> None:
    lines = (
        "timestamp,mode,open,energy",
        "0,run,true,1000000000000",
        "1, stop ,False,1000000000001",
        "2,7,1,",
        "3,,,3",
        "4,NA,0.0,4",
        '5,"a, b",0,5',
    )
    path = write(tmp_path / "a.csv", *lines)
    frame = pd.DataFrame(
        {
            "timestamp": [0, 1, 2, 3, 4, 5],
            "mode": ["run", " stop ", "7", None, "NA", "a, b"],
            "open": [True, False, True, None, False, False],
            "energy": [1e12, 1e12 + 1, None, 3, 4, 5],
        }
    )
    frame.to_parquet(tmp_path / "b.parquet")
    switches = [1, 0, 1, np.nan, 0, 0]
    for found in (declared(path), declared(tmp_path / "b.parquet")):
        modes = [found.texts.get(row[0]) for row in cells(found)]
        assert modes == ["run", "stop", "7", None, "NA", "a, b"]
        np.testing.assert_array_equal([row[1] for row in cells(found)], switches)
        np.testing.assert_array_equal([row[2] for row in cells(found)], [1e12, 1e12 + 1, np.nan, 3, 4, 5])


def test_odd_lines_with_texts_are_read_alike(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.csv", "timestamp,mode,open", "0,run,1", "1,NA,", "2,,true")
    odd = write(tmp_path / "b.csv", "timestamp,mode,open", "0,run,1", "", "1,NA,", "2,,true")
    np.testing.assert_array_equal(declared(plain).values, declared(odd).values)


def test_switches_in_a_column_of_numbers_are_read(tmp_path: Path) -> None:
    pd.DataFrame({"timestamp": [0, 1], "open": [1, 0]}).to_parquet(tmp_path / "a.parquet")
    assert cells(declared(tmp_path / "a.parquet")) == [[1], [0]]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            ["timestamp,open", "0,1", "1,yes", "2,2"],
            'column open: must hold 0 and 1, or true and false, got "yes" in line 3 (and 1 more)',
        ),
        (
            ["timestamp,mode", "0,run", "1," + 257 * "x"],
            f'column mode: must hold text of 1 to 256 printable characters, got "{57 * "x"}…" in line 3',
        ),
        (["timestamp,energy", "0,run"], 'column energy: must hold finite numbers, got "run" in line 2'),
    ],
)
def test_a_cell_that_is_not_what_its_column_is_declared_to_be_is_named(
    tmp_path: Path, lines: list[str], expected: str
) -> None:
    with pytest.raises(Unusable) as refused:
        declared(write(tmp_path / "a.csv", *lines))
    assert refused.value.problems == (f"{tmp_path}/a.csv: {expected}; history.ignore_columns leaves it out",)


def test_a_number_is_no_category_where_a_file_tells_them_apart(tmp_path: Path) -> None:
    pd.DataFrame({"timestamp": [0, 1], "mode": [7, 8]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(Unusable, match=r"column mode: must hold text .*, got 7 in row 1 \(and 1 more\)"):
        declared(tmp_path / "a.parquet")
