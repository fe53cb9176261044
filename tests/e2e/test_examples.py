"""Each example runs as a user runs it: a process of its own, with a model's recorded answers served on loopback."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
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


def test_a_generated_task_in_the_middle_of_a_pipeline_is_mapped_over_ten_files(
    endpoint: Endpoint, environment: dict[str, str], tmp_path: Path
) -> None:
    serve(endpoint, "summarize-sales")
    printed = run("generated_in_the_middle.py", environment=served_by(endpoint, environment), folder=tmp_path)
    revenue, units, count = re.findall(r"[\d.]+", printed.splitlines()[-1])
    sales = rows("sales.csv")
    assert float(revenue) == pytest.approx(sum(int(row["units"]) * float(row["unit_price"]) for row in sales))
    assert (int(units), int(count)) == (sum(int(row["units"]) for row in sales), len(sales))
    assert len(endpoint.requests) == 3


def test_a_generation_run_again_asks_nothing_and_gives_the_same(
    endpoint: Endpoint, environment: dict[str, str], tmp_path: Path
) -> None:
    serve(endpoint, "summarize-sales")
    fresh = environment | {"FLYTEPLUGINS_CODEGEN_HOME": str(tmp_path / "codegen")}
    printed = run("again.py", environment=served_by(endpoint, fresh), folder=tmp_path)
    assert len(endpoint.requests) == 3
    first, second = (line.split(":")[1] for line in printed.splitlines() if "total_revenue" in line)
    assert first == second


def test_a_workflow_of_flytekit_reports_the_totals_of_its_data(
    endpoint: Endpoint, environment: dict[str, str], tmp_path: Path
) -> None:
    serve(endpoint, "summarize-sales")
    fresh = served_by(endpoint, environment) | {"FLYTEPLUGINS_CODEGEN_HOME": str(tmp_path / "codegen")}
    printed = run("flytekit_workflow.py", environment=fresh, folder=tmp_path)
    sales = rows("sales.csv")
    units, revenue = 0, 0.0
    for row in sales:
        units += int(row["units"])
        revenue += int(row["units"]) * float(row["unit_price"])
    told = f"{units} units in {len(sales)} orders brought in {revenue:.2f}"
    assert printed.splitlines()[-1] == told
    assert len(endpoint.requests) == 3
    command = [Path(sys.executable).with_name("pyflyte"), "run", EXAMPLES / "flytekit_workflow.py", "sales_report"]
    done = subprocess.run(
        [*command, "--sales", EXAMPLES / "data" / "sales.csv"],
        capture_output=True,
        text=True,
        check=False,
        env=fresh,
        cwd=tmp_path,
    )
    assert told in done.stdout, done.stderr
    assert len(endpoint.requests) == 3


def test_a_pipeline_on_an_exported_module_runs_here_and_is_scheduled_each_morning(
    environment: dict[str, str], tmp_path: Path
) -> None:
    flyte = Path(sys.executable).with_name("flyte")
    command = [flyte, "run", "--local", EXAMPLES / "scheduled.py", "every_morning", "--now", "2026-01-01T05:00:00"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The audience of 2026-01-01" in done.stdout
    program = """
import asyncio, flyte.extras, scheduled
from flyte._internal.runtime.trigger_serde import to_task_trigger  # what a deployment sends; flyte has no public word
(spec,) = flyte.extras.serialize_env(scheduled.env)
(trigger,) = scheduled.every_morning.triggers
inputs = spec.task_template.interface.inputs
print(asyncio.run(to_task_trigger(trigger, "every_morning", inputs, list(spec.default_inputs))))
print(*(task.task_template.id.name for task in flyte.extras.serialize_env(scheduled.env.depends_on[0])))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment, cwd=EXAMPLES
    )
    assert done.returncode == 0, done.stderr
    for part in (
        'expression: "0 5 * * *"',
        'timezone: "Europe/Berlin"',
        'kickoff_time_input_arg: "now"',
        "active: true",
    ):
        assert part in done.stdout
    assert "lookalike-audience.lookalike_audience" in done.stdout


def test_the_exported_module_is_what_an_export_of_the_recorded_generation_gives(
    environment: dict[str, str], tmp_path: Path
) -> None:
    codegen, committed = Path(sys.executable).with_name("codegen"), EXAMPLES / "exported" / "lookalike"
    for command in (["demo", "--out", "demo"], ["export", "demo/generation", "--to", "flyte", "--out", "new"]):
        done = subprocess.run(
            [codegen, *command], capture_output=True, text=True, check=False, env=environment, cwd=tmp_path
        )
        assert done.returncode == 0, done.stdout + done.stderr
    new = tmp_path / "new"
    names = sorted(path.relative_to(new) for path in new.rglob("*") if path.is_file())
    kept = [path for path in committed.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert names == sorted(path.relative_to(committed) for path in kept)
    for name in names:
        # Versions of packages are those of the day.
        assert _unpinned(new / name) == _unpinned(committed / name), name


def _unpinned(path: Path) -> bytes:
    if path.name == "requirements.txt":
        return b"\n".join(sorted(re.findall(rb"^[\w.-]+(?===)", path.read_bytes(), re.MULTILINE)))
    return re.sub(
        rb'(?<===)[^"\s]+|(?<=requires-python = ">=)[\d.]+|(?<=python_version=\()\d+, \d+', b"", path.read_bytes()
    )


def test_the_notebook_runs_from_its_first_cell_to_its_last(
    endpoint: Endpoint, environment: dict[str, str], tmp_path: Path
) -> None:
    serve(endpoint, "summarize-sales")
    shutil.copytree(EXAMPLES / "data", tmp_path / "data")
    notebook = json.loads((EXAMPLES / "first_steps.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell.get("outputs") for cell in notebook["cells"])
    # As a kernel does it: each cell compiled by itself, awaited where it awaits, in one loop that goes on.
    program = f"""
import ast, asyncio, inspect
async def run():
    names = {{"__name__": "__main__"}}
    for cell in {cells!r}:
        value = eval(compile(cell, "<cell>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
        if inspect.isawaitable(value):
            await value
asyncio.run(run())
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env=served_by(endpoint, environment),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    count = len(rows("sales.csv"))
    assert done.stdout.count(f", {count})") == 2
