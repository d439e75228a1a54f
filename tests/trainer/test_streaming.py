from __future__ import annotations

import csv
import gzip
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.training import History as HistorySettings
from detector.history import UNKNOWN, History
from trainer.history_files import read_histories, read_pieces, record_histories
from trainer.problems import Unreadable, Unusable
from trainer.recording import ROWS, Recorder
from trainer.tables import read_tables

SETTINGS = HistorySettings()
NAMES = ["timestamp", "machine", "flow", "load", "label"]
BLOCKS = st.integers(1, 200)  # bytes: from one line a block to all lines in one
NUMBERS = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))
ROWS_OF_MACHINES = st.lists(
    st.tuples(
        st.integers(0, 10**6),
        st.sampled_from(["007", "a b", "ü"]),
        NUMBERS,
        NUMBERS,
        st.sampled_from([0, 1, -1]),
    ),
    min_size=1,
    max_size=15,
)
Row = tuple[int, str, float | None, float | None, int]


def by_hand(rows: Iterable[Row]) -> dict[str, list[list[float]]]:
    """Time, values and label of each machine's rows in order of time."""
    machines: dict[str, list[list[float]]] = defaultdict(list)
    for at, machine, *values, label in sorted(rows, key=lambda row: row[0]):
        cells = [np.nan if value is None else value for value in values]
        machines[machine].append([at * 1000, *cells, label])
    return machines


def laid_out(histories: Iterable[History]) -> dict[str, list[list[float]]]:
    machines: dict[str, list[list[float]]] = defaultdict(list)
    for history in histories:
        label = np.full(len(history), UNKNOWN) if history.label is None else history.label
        machines[history.machine] += np.column_stack([history.at, history.values, label]).tolist()  # noqa: PD011 - no DataFrame
    return machines


def recorded(paths: list[Path], block: int) -> dict[str, list[list[float]]]:
    with Recorder() as recorder:
        for piece in read_pieces(paths, SETTINGS, block=block):
            recorder.write(piece)
        return laid_out(block for recording in recorder.recordings() for block in recording.blocks())


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


def problems(path: Path, block: int) -> list[str]:
    with pytest.raises(Unusable) as caught:
        list(read_pieces([path], SETTINGS, block=block))
    return [problem.replace(f"{path.parent}/", "") for problem in caught.value.problems]


@settings(deadline=None, max_examples=40)
@given(rows=ROWS_OF_MACHINES, block=BLOCKS, kind=st.sampled_from([".csv", ".csv.gz", ".parquet"]))
def test_read_block_by_block_is_read_at_once_and_as_it_was_written(
    rows: list[Row], block: int, kind: str
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"a{kind}"
        frame = pd.DataFrame(rows, columns=NAMES)
        if kind == ".parquet":
            frame.to_parquet(path, row_group_size=7)
        else:
            frame.to_csv(path, index=False)
        expected = by_hand(rows)
        np.testing.assert_equal(laid_out(read_histories([path], SETTINGS)), expected)
        np.testing.assert_equal(recorded([path], block), expected)


@settings(deadline=None, max_examples=40)
@given(
    rows=st.lists(st.tuples(NUMBERS, st.booleans(), st.booleans()), min_size=1, max_size=15),
    block=BLOCKS,
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_borders_of_blocks_fall_on_no_line_break_within_quotes_and_empty_lines_still_count(
    rows: list[tuple[float | None, bool, bool]], block: int, end: str
) -> None:
    lines = [f"timestamp,note,flow{end}"]
    for at, (flow, two_lines, empty_line) in enumerate(rows):
        note = '"a ""note"",\nof two lines"' if two_lines else "a note"
        lines.append(f"{at},{note},{'' if flow is None else flow}{end}{end if empty_line else ''}")
    wishes = HistorySettings(ignore_columns=("note",))
    with TemporaryDirectory() as folder:
        path = write(Path(folder) / "a.csv", "".join(lines).removesuffix(end))
        pieces = list(read_pieces([path], wishes, block=block))
    flows = np.concatenate([piece.values[:, 0] for piece in pieces])  # noqa: PD011 - no DataFrame
    np.testing.assert_array_equal(flows, [np.nan if flow is None else flow for flow, _, _ in rows])


@settings(deadline=None, max_examples=40)
@given(block=BLOCKS, wrong=st.lists(st.integers(0, 19), min_size=1, unique=True))
def test_a_bad_cell_is_named_with_its_line_whatever_the_blocks(block: int, wrong: list[int]) -> None:
    lines = [f"{at},{'bad' if at in wrong else at},{at}" for at in range(20)]
    more = f" (and {len(wrong) - 1} more)" if wrong[1:] else ""
    with TemporaryDirectory() as folder:
        path = write(Path(folder) / "a.csv", "\n".join(["timestamp,flow,load", *lines]))
        assert problems(path, block) == [
            (
                f'a.csv: column flow: must hold finite numbers, got "bad" in line {min(wrong) + 2}{more}; '
                "readings.channels declares what is no plain number, history.ignore_columns leaves it out"
            )
        ]


@pytest.mark.parametrize("block", [1, 20, 1000])
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "5,1",
            "must have a field for each of 3 columns in every line, got: Expected 3 fields in line 12, saw 2",
        ),
        (
            "5,1,2,3",
            "must have a field for each of 3 columns in every line, got: Expected 3 fields in line 12, saw 4",
        ),
        (
            '5,"1,2',
            (
                "must have a field for each of 3 columns in every line, got: "
                "a quotation mark in line 12 is never closed"
            ),
        ),
        (
            "5,1,inf",
            (
                "column load: must hold finite numbers, got Infinity in line 12; "
                "history.ignore_columns leaves it out"
            ),
        ),
        (
            "2026-01-04,1,2",
            (
                "column timestamp: must hold times (ISO 8601, or epoch seconds or milliseconds), "
                'got "2026-01-04" in line 12'
            ),
        ),
    ],
)
def test_a_line_that_is_wrong_is_named_whatever_the_blocks(
    tmp_path: Path, line: str, expected: str, block: int
) -> None:
    path = write(
        tmp_path / "a.csv", "\n".join(["timestamp,flow,load", *(f"{i},1,2" for i in range(10)), line])
    )
    assert problems(path, block) == [f"a.csv: {expected}"]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(allow_infinity=False), min_size=1), st.booleans())
def test_arrow_and_pandas_read_the_same_numbers(values: list[float], quirk: bool) -> None:  # noqa: FBT001
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        lines = [f"{at},{'' if np.isnan(value) else repr(value)}" for at, value in enumerate(values)]
        write(path, "\n".join(["timestamp,flow", *lines, *([""] if quirk else [])]) + "\n")
        (table,) = read_tables(path, SETTINGS)
    np.testing.assert_array_equal(table.frame["flow"].to_numpy(dtype=float), values)


def test_times_that_are_numbers_first_and_moments_later_are_refused_whatever_the_blocks(
    tmp_path: Path,
) -> None:
    lines = [
        "timestamp,flow",
        *(f"{i},1" for i in range(9)),
        *(f"2026-01-0{i}T00:00:00Z,1" for i in range(1, 5)),
    ]
    path = write(tmp_path / "a.csv", "\n".join(lines))
    for block in (1, 30, 1000):
        assert problems(path, block) == [
            (
                "a.csv: column timestamp: must hold times (ISO 8601, or epoch seconds or milliseconds), "
                'got "2026-01-01T00:00:00Z" in line 11 (and 3 more)'
            )
        ]


def test_a_file_that_breaks_off_late_is_unreadable_and_not_half_a_history(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    text = "timestamp,flow\n" + "".join(f"{i},{random.normal()}\n" for i in range(20_000))
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(text.encode())[:-1000])
    with pytest.raises(Unreadable):
        list(read_pieces([path], SETTINGS, block=10_000))


def test_files_in_another_order_than_that_of_time_are_put_in_order_and_stay_on_disk(tmp_path: Path) -> None:
    rows = 2 * ROWS
    paths = []
    for i in (2, 0, 1):
        paths.append(tmp_path / f"{i}.parquet")
        at = 1000 * (np.arange(rows) + i * rows)
        pd.DataFrame({"timestamp": pd.to_datetime(at, unit="ms", utc=True), "flow": at / 1000}).to_parquet(
            paths[-1]
        )
    told: list[str] = []
    with Recorder() as recorder:
        (recording,) = record_histories(paths, SETTINGS, recorder, machine="press", note=told.append)
        blocks = list(recording.blocks())
    assert recording.ordered
    assert max(map(len, blocks)) <= ROWS
    assert told == ["press: rows were sorted by time, which went back 1 time"]
    flow = np.concatenate([block.values[:, 0] for block in blocks])  # noqa: PD011 - no DataFrame
    np.testing.assert_array_equal(flow, np.arange(3 * rows))


def test_rows_out_of_order_are_sorted_and_those_of_one_time_keep_their_order(tmp_path: Path) -> None:
    at = np.random.default_rng(0).integers(0, 5000, 3 * ROWS)
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("timestamp", "flow"), *zip(at.tolist(), range(len(at)), strict=True)])
    with Recorder() as recorder:
        (recording,) = record_histories([tmp_path / "a.csv"], SETTINGS, recorder)
        blocks = list(recording.blocks())
    assert not recording.ordered
    flow = np.concatenate([block.values[:, 0] for block in blocks])  # noqa: PD011 - no DataFrame
    np.testing.assert_array_equal(flow, np.argsort(at, kind="stable"))


def test_a_disk_without_room_is_named_with_a_way_out(tmp_path: Path) -> None:
    program = (
        "import numpy as np\nfrom resource import RLIMIT_FSIZE, getrlimit, setrlimit\n"
        "from detector.history import History\n"
        "from trainer.recording import Recorder\n"
        "setrlimit(RLIMIT_FSIZE, (100_000, getrlimit(RLIMIT_FSIZE)[1]))\n"
        "with Recorder() as recorder:\n"
        "    try:\n"
        "        recorder.write(History('m', ('a',), np.arange(99_999), np.zeros((99_999, 1))))\n"
        "    except OSError as error:\n"
        "        print(error.filename, error.strerror)\n"
        "        setrlimit(RLIMIT_FSIZE, getrlimit(RLIMIT_FSIZE)[1:] * 2)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env={"TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    hint = "File too large; $TMPDIR names another folder for the copy that is replayed"
    assert done.stdout == f"{tmp_path} {hint}\n"
    assert not list(tmp_path.iterdir())
