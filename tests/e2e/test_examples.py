"""Each example runs as a user runs it: a process of its own, with a model's recorded answers served on loopback."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from endpoint import Endpoint, Reply

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
RECORDINGS = Path(__file__).parent / "recordings"
KEY = "the-example-key"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A home of these tests' own, uv's usual cache, and no Docker; skips where nothing isolates."""
    home = tmp_path_factory.mktemp("home")
    cache = subprocess.run(["uv", "cache", "dir"], capture_output=True, text=True, check=False, env=_with_bin())
    environment = _with_bin() | {"HOME": str(home), "DOCKER_HOST": f"unix://{home}/no-docker.sock"}
    environment.pop("XDG_CACHE_HOME", None)
    if cache.returncode == 0:
        environment["UV_CACHE_DIR"] = cache.stdout.strip()
    environment["FLYTEPLUGINS_CODEGEN_HOME"] = str(home / "codegen")
    doctor = subprocess.run(
        [sys.executable, "-m", "flyteplugins.codegen.cli.main", "doctor", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=120,
    )
    assert doctor.returncode == 0, doctor.stderr
    runtimes = json.loads(doctor.stdout)["runtimes"]
    if not any(runtime["available"] and runtime["isolates"] for runtime in runtimes):
        pytest.skip("; ".join(f"{runtime['name']}: {runtime['reason']}" for runtime in runtimes))
    return environment


def _with_bin() -> dict[str, str]:
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def serve(endpoint: Endpoint, recording: str) -> None:
    """Let the endpoint give the recorded answers, each step its own."""
    path = RECORDINGS / f"{recording}.jsonl"
    if not path.exists():
        missing = f"{path.relative_to(ROOT)} is not recorded yet: see CONTRIBUTING.md"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        endpoint.say_to(entry["step"], Reply(entry["answer"], finish_reason=entry["finish_reason"]))


def run(example: str, *arguments: str, environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / example), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=folder,
        timeout=300,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def served_by(endpoint: Endpoint, environment: dict[str, str]) -> dict[str, str]:
    return environment | {"OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": KEY}


def rows(name: str) -> list[dict[str, str]]:
    with (EXAMPLES / "data" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_quick_start_gives_the_totals_of_its_data(
    endpoint: Endpoint, environment: dict[str, str], tmp_path: Path
) -> None:
    serve(endpoint, "summarize-sales")
    printed = run("quick_start.py", environment=served_by(endpoint, environment), folder=tmp_path)
    revenue, units, count = re.findall(r"[\d.]+", printed.splitlines()[-1])
    sales = rows("sales.csv")
    assert float(revenue) == pytest.approx(sum(int(row["units"]) * float(row["unit_price"]) for row in sales))
    assert (int(units), int(count)) == (sum(int(row["units"]) for row in sales), len(sales))
    assert {request.key for request in endpoint.requests} == {KEY}


def test_processing_a_csv_of_another_schema_gives_its_totals(
    endpoint: Endpoint, environment: dict[str, str], tmp_path: Path
) -> None:
    serve(endpoint, "sales-processor")
    printed = run("process_csvs.py", environment=served_by(endpoint, environment), folder=tmp_path)
    transactions = rows("transactions.csv")
    assert f"'transaction_count': {len(transactions)}" in printed
    assert f"'total_units': {sum(int(row['quantity']) for row in transactions)}" in printed


def test_the_sensor_analysis_reports_every_sensor_once(
    endpoint: Endpoint, environment: dict[str, str], tmp_path: Path
) -> None:
    serve(endpoint, "sensor-analysis")
    printed = run("analyze_sensors.py", environment=served_by(endpoint, environment), folder=tmp_path)
    assert re.search(r"^total_anomalies: \d+$", printed, re.MULTILINE)
    sensors = {row["sensor_id"] for row in rows("readings.csv")}
    assert sorted(re.findall(r"\bS-\d\d\b", printed)) == sorted(sensors)


def test_a_plain_script_runs_its_code_on_several_values(
    endpoint: Endpoint, environment: dict[str, str], tmp_path: Path
) -> None:
    serve(endpoint, "big-orders")
    printed = run("plain_script.py", environment=served_by(endpoint, environment), folder=tmp_path)
    sales = rows("sales.csv")
    for least in (5, 9):
        big = [row for row in sales if int(row["units"]) >= least]
        revenue = sum(int(row["units"]) * float(row["unit_price"]) for row in big)
        assert f"at least {least} units: {len(big)} orders, {revenue:.2f}" in printed
    assert (tmp_path / "big-orders" / "solution.py").exists()


def test_a_server_of_ones_own_is_the_only_one_asked(
    endpoint: Endpoint, environment: dict[str, str], tmp_path: Path
) -> None:
    serve(endpoint, "sales-by-product")
    printed = run("custom_endpoint.py", endpoint.url, "local-model", environment=environment, folder=tmp_path)
    revenue: dict[str, float] = {}
    for row in rows("sales.csv"):
        revenue[row["product"]] = revenue.get(row["product"], 0) + int(row["units"]) * float(row["unit_price"])
    lines = [line.split(",") for line in printed.splitlines() if "," in line][-len(revenue) :]
    assert [name for name, _ in lines] == sorted(revenue, key=lambda name: -revenue[name])
    assert {request.body["model"] for request in endpoint.requests} == {"local-model"}
