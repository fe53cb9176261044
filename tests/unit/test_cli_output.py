from __future__ import annotations

import datetime
import json
from pathlib import Path

import pandas as pd
import pytest
from flyte.io import DataFrame, Dir, File

from flyteplugins.codegen.cli import output
from flyteplugins.codegen.core.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("content", "name"),
    [(b"PAR1....PAR1", "report.parquet"), (b"a,b\n1,2\n", "report"), (b"\x89PNG\r\n", "report.png"), (b"", "report")],
)
def test_a_file_is_copied_with_the_extension_that_its_content_tells(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / "report").write_bytes(content)
    copied = output.copy_files({"report": File(path=str(tmp_path / "report")), "n": 3}, tmp_path / "out")
    assert copied == {"report": tmp_path / "out" / name, "n": 3}
    assert (tmp_path / "out" / name).read_bytes() == content


def test_an_output_is_never_written_over_an_input(tmp_path: Path) -> None:
    (tmp_path / "produced").write_text("new")
    mine = tmp_path / "sales"
    mine.write_text("mine")
    with pytest.raises(InvalidRequestError, match="over the input"):
        output.copy_files({"sales": File(path=str(tmp_path / "produced"))}, tmp_path, [mine])
    assert mine.read_text() == "mine"


def test_values_are_json_that_every_reader_takes() -> None:
    values = {
        "ratio": float("nan"),
        "count": 3,
        "ok": True,
        "at": datetime.datetime(2026, 1, 2, 3),
        "took": datetime.timedelta(seconds=90),
        "report": Path("/data/report.csv"),
    }
    written = json.dumps(output.as_json(values), allow_nan=False)
    assert json.loads(written) == {
        "ratio": "nan",
        "count": 3,
        "ok": True,
        "at": "2026-01-02T03:00:00",
        "took": "0:01:30",
        "report": "/data/report.csv",
    }


def test_folders_and_tables_are_copied_too_and_documents_are_json(tmp_path: Path) -> None:
    (tmp_path / "made" / "deep").mkdir(parents=True)
    (tmp_path / "made" / "deep" / "a.txt").write_text("a")
    frame = pd.DataFrame({"a": [1]})
    frame.to_parquet(tmp_path / "table")
    table = DataFrame.from_existing_remote(str(tmp_path / "table"), "parquet")
    values = {"pages": Dir(path=str(tmp_path / "made")), "table": table, "frame": frame, "notes": {"a": [None]}}
    copied = output.copy_files(values, tmp_path / "out")
    assert output.as_json(copied) == {
        "pages": str(tmp_path / "out" / "pages"),
        "table": str(tmp_path / "out" / "table.parquet"),
        "frame": str(tmp_path / "out" / "frame.parquet"),
        "notes": {"a": [None]},
    }
    assert (tmp_path / "out" / "pages" / "deep" / "a.txt").read_text() == "a"
    assert pd.read_parquet(copied["frame"]).equals(pd.read_parquet(copied["table"]))
    assert output.as_lines({"notes": {"a": [None]}, "day": datetime.date(2026, 1, 2)}) == [
        'notes = {"a": [null]}',
        "day = 2026-01-02",
    ]
    (tmp_path / "saved").mkdir()
    output.write(values, tmp_path / "saved")
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == ["frame", "notes", "pages", "table"]
