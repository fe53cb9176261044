from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
from flyte.io import File

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
