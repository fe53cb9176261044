from __future__ import annotations

import datetime
import decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from flyte.io import File

from flyteplugins.codegen.core.pictures import ColumnPicture, SamplePicture
from flyteplugins.codegen.data.context import describe
from flyteplugins.codegen.data.profiling import profile


async def picture_of(path: Path) -> SamplePicture:
    return (await profile("sample", File(path=str(path)), max_rows=5)).picture


async def column_of(folder: Path, values: list[Any], *, suffix: str = ".parquet") -> ColumnPicture:
    frame, path = pd.DataFrame({"x": values}), folder / f"sample{suffix}"
    frame.to_parquet(path) if suffix == ".parquet" else frame.to_csv(path, index=False)
    (column,) = (await picture_of(path)).columns
    return column


def bars(column: ColumnPicture) -> list[tuple[str, int]]:
    return [(bar.label, bar.rows) for bar in column.bars]


async def test_every_row_is_in_a_bar_wherever_it_stands_in_the_file(tmp_path: Path) -> None:
    rows = 72_000  # more than one batch
    frame = pd.DataFrame(
        {
            "amount": [row % 1000 for row in range(rows)],
            "country": ["DE" if row % 3 else "FR" for row in range(rows - 1)] + [None],
            "day": [f"2024-01-{row % 30 + 1:02}" for row in range(rows)],
        }
    )
    frame.to_parquet(tmp_path / "sales.parquet")
    picture = await picture_of(tmp_path / "sales.parquet")
    assert (picture.name, picture.file_name, picture.rows) == ("sample", "sales.parquet", rows)
    assert [(column.name, column.dtype, column.nulls, column.ranges) for column in picture.columns] == [
        ("amount", "integer", 0, True),
        ("country", "text", 1, False),
        ("day", "text", 0, True),
    ]
    amount, country, day = picture.columns
    assert bars(amount) == [(f"{left} to {left + 99}", 7_200) for left in range(0, 1000, 100)]
    assert bars(country) == [("DE", 47_999), ("FR", 24_000)]
    assert bars(day) == [(f"2024-01-{left:02} to 2024-01-{left + 1:02}", 4_800) for left in range(1, 31, 2)]


async def test_a_few_whole_numbers_have_a_bar_each(tmp_path: Path) -> None:
    assert bars(await column_of(tmp_path, [1, 3, 3, 5])) == [("1", 1), ("2", 0), ("3", 2), ("4", 0), ("5", 1)]


async def test_the_last_range_of_floats_has_its_right_end_too(tmp_path: Path) -> None:
    column = await column_of(tmp_path, [0.0, 0.05, 0.99, 1.0])
    assert column.ranges
    assert bars(column)[0] == ("0.0 to 0.1", 2)
    assert bars(column)[-1] == ("0.9 to 1.0", 2)
    assert len(column.bars) == 10


async def test_infinite_values_have_bars_of_their_own(tmp_path: Path) -> None:
    column = await column_of(tmp_path, [float("-inf"), 1.0, 2.0, float("inf"), float("inf")])
    assert (bars(column)[0], bars(column)[-1]) == (("-inf", 1), ("inf", 2))
    assert sum(bar.rows for bar in column.bars) == 5


@pytest.mark.parametrize(
    "values",
    [
        [-(2**63), 2**63 - 1, 0],
        [5e-324, 1e-323, 1e308, -1e308],
        [1.0000000000000002, 1.0000000000000004],
        [0.1, 0.1],
        [1e300, 1.1e300],
        [123456789.125, 123456789.25, 123456790.0],
    ],
)
async def test_no_value_is_lost_whatever_the_range(tmp_path: Path, values: list[Any]) -> None:
    column = await column_of(tmp_path, values)
    assert sum(bar.rows for bar in column.bars) == len(values)
    assert len(column.bars) <= 20
    assert len({bar.label for bar in column.bars}) == len(column.bars)


async def test_decimals_are_numbers_and_booleans_are_values(tmp_path: Path) -> None:
    amounts = await column_of(tmp_path, [decimal.Decimal("1.50"), decimal.Decimal("20.00"), None])
    assert (amounts.dtype, amounts.ranges, amounts.nulls) == ("decimal", True, 1)
    assert sum(bar.rows for bar in amounts.bars) == 2
    assert bars(await column_of(tmp_path, [True, True, False])) == [("True", 2), ("False", 1)]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
async def test_points_in_time_are_ranges_of_the_unit_that_shows_them(tmp_path: Path, suffix: str) -> None:
    start = datetime.datetime(2024, 3, 1, 22)
    column = await column_of(
        tmp_path, [start + datetime.timedelta(minutes=20 * step) for step in range(12)], suffix=suffix
    )
    assert column.ranges
    assert bars(column)[0] == ("2024-03-01 22:00 to 22:15", 1)
    assert sum(bar.rows for bar in column.bars) == 12


async def test_a_clock_with_a_zone_shows_its_own_time(tmp_path: Path) -> None:
    column = await column_of(tmp_path, list(pd.date_range("2024-03-01 12:00", periods=2, freq="h", tz="Asia/Kolkata")))
    assert bars(column)[0] == ("2024-03-01 12:00 to 12:05", 1)


async def test_very_many_points_in_time_are_counted_by_a_larger_unit_and_none_is_lost(tmp_path: Path) -> None:
    seconds = [step * 1_669 for step in range(60_000)]
    column = await column_of(tmp_path, [datetime.datetime(2020, 1, 1) + datetime.timedelta(seconds=s) for s in seconds])
    assert len(column.bars) == 20
    assert sum(bar.rows for bar in column.bars) == 60_000
    assert column.bars[0].label.startswith("2020-01-01 to ")


async def test_what_only_looks_like_a_time_is_shown_by_its_values(tmp_path: Path) -> None:
    column = await column_of(tmp_path, ["2024-02-30", "2024-02-30"], suffix=".csv")
    assert (column.ranges, bars(column)) == (False, [("2024-02-30", 2)])


async def test_values_that_each_stand_alone_say_nothing(tmp_path: Path) -> None:
    column = await column_of(tmp_path, [f"user-{number}" for number in range(50)])
    assert (column.distinct, column.bars) == (50, [])


async def test_a_long_value_is_cut_and_stays_on_one_line(tmp_path: Path) -> None:
    column = await column_of(tmp_path, ["a\nb " + "x" * 500] * 2)
    (bar,) = column.bars
    assert bar.label.startswith("a b xxx")
    assert len(bar.label) == 60


async def test_bytes_and_nested_values_are_not_shown(tmp_path: Path) -> None:
    assert (await column_of(tmp_path, [b"\x00secret", b"\x00secret"])).bars == []
    assert (await column_of(tmp_path, [[1, 2], [1, 2]])).bars == []


async def test_a_very_wide_table_makes_no_large_picture(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text("".join(",".join(f"{start}{number}" for number in range(300)) + "\n" for start in ("c", 1, 2)))
    columns = (await picture_of(path)).columns
    assert len(columns) == 300
    assert [number for number, column in enumerate(columns) if column.bars] == list(range(200))


async def test_no_model_is_told_of_the_bars(tmp_path: Path) -> None:
    path = tmp_path / "sales.csv"
    path.write_text("amount\n" + "".join(f"{number * 7}\n" for number in range(100)))
    found = await profile("sales", File(path=str(path)), max_rows=5)
    told = describe({"sales": found}, privacy="rows")
    assert "amount" in told
    assert not [bar.label for bar in found.columns[0].bars if bar.label in told]


async def test_a_text_has_a_picture_without_columns(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("one\ntwo\n")
    assert await picture_of(path) == SamplePicture(name="sample", file_name="notes.txt", rows=None, columns=[])
