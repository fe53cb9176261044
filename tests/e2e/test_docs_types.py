"""The program of `docs/types.md` runs as it stands: a whole generation with every other type, and a run of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from endpoint import Endpoint
from handmade import coded

pytestmark = pytest.mark.isolation

PAGE = (Path(__file__).parents[2] / "docs" / "types.md").read_text(encoding="utf-8")
[PROGRAM] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

CODE = """
import argparse
import datetime
import json
import sys
from pathlib import Path

import pandas as pd


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--months", required=True, action="append")
    parser.add_argument("--rates", required=True, type=json.loads)
    parser.add_argument("--known", required=True)
    parser.add_argument("--since", required=True, type=datetime.date.fromisoformat)
    parser.add_argument("--outputs", default="/var/outputs")
    args = parser.parse_args()
    frame = pd.concat([pd.read_csv(path, parse_dates=["day"]) for path in args.months])
    frame = frame[frame["day"].dt.date >= args.since].merge(pd.read_parquet(args.known), on="product")
    frame["price"] = frame["price"] * frame["product"].map(lambda product: args.rates.get(product, 1.0))
    frame = frame.sort_values(["product", "day"])[["product", "price"]]
    if frame.empty:
        sys.exit("no rows are left")
    folder = Path(args.outputs)
    (folder / "pages").mkdir(parents=True, exist_ok=True)
    for product, rows in frame.groupby("product"):
        (folder / "pages" / f"{product}.md").write_text(f"# {product}\\n{rows['price'].tolist()}\\n")
    frame.to_parquet(folder / "prices", index=False)
    notes = {"files": len(args.months), "products": sorted(frame["product"].unique())}
    (folder / "notes").write_text(json.dumps(notes, allow_nan=False))


if __name__ == "__main__":
    main()
"""
TESTS = """
import datetime

import pandas as pd


def test_prices_are_raised_and_put_together(run_solution, tmp_path):
    for month, rows in {"1": "2026-01-05,tea,2", "2": "2026-02-05,rice,4"}.items():
        (tmp_path / f"{month}.csv").write_text(f"day,product,price\\n{rows}\\n")
    run = run_solution(
        months=[tmp_path / "1.csv", tmp_path / "2.csv"],
        rates={"tea": 3.0},
        known=pd.DataFrame({"product": ["tea", "rice"], "group": [1, 1]}),
        since=datetime.date(2026, 1, 5),
    )
    assert run.exit_code == 0, run.stderr
    assert run.outputs["prices"].to_dict("list") == {"product": ["rice", "tea"], "price": [4.0, 6.0]}
    assert run.outputs["notes"] == {"files": 2, "products": ["rice", "tea"]}
    assert sorted(path.name for path in run.outputs["pages"].iterdir()) == ["rice.md", "tea.md"]


def test_earlier_days_are_left_out(run_solution, tmp_path):
    (tmp_path / "1.csv").write_text("day,product,price\\n2026-01-05,tea,2\\n2026-01-06,tea,5\\n")
    known = pd.DataFrame({"product": ["tea"], "group": [1]})
    run = run_solution(months=[tmp_path / "1.csv"], rates={}, known=known, since=datetime.date(2026, 1, 6))
    assert run.outputs["prices"]["price"].tolist() == [5.0]
    assert (run.outputs["pages"] / "tea.md").read_text() == "# tea\\n[5.0]\\n"
"""


def test_the_program(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.say_to("plan", {"description": "Price lists.", "approach": "Read, raise, write.", "packages": ["pandas"]})
    endpoint.say_to("code", coded(CODE, packages=["pandas", "pyarrow"]))
    endpoint.say_to("tests", {"code": TESTS, "packages": [], "coverage": []})
    (tmp_path / "january.csv").write_text("day,product,price\n2026-01-05,tea,2\n2026-01-07,rice,3\n")
    (tmp_path / "february.csv").write_text("day,product,price\n2026-02-05,tea,4\n")
    (tmp_path / "program.py").write_text(f"{PROGRAM}\nprint(result.summary())\nresult.save('generation')\n")
    environment = {**os.environ, "OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": "none"}
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "{'product': ['tea'], 'price': [8.0]} ['files', 'products']" in done.stdout
    # Code and tests are asked for side by side.
    assert sorted(request.step or "" for request in endpoint.requests) == ["code", "plan", "tests"]
    told = str(endpoint.requests[1].body)
    for line in (
        "`--months`: list[File]",
        "`--rates`: dict",
        "`--known`: pandas.DataFrame",
        "`prices`: pandas.DataFrame",
    ):
        assert line in told
    assert "A `list[File]` input is one or more files" in told
    kept = {path.relative_to(tmp_path / "generation" / "samples") for path in tmp_path.rglob("samples/**/*.*")}
    assert {str(path) for path in kept} == {
        "months/0/january.csv",
        "months/1/february.csv",
        "known/known.parquet",
    }
