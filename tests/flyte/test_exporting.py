"""A generation exported as a module of its own, run as a person would run it: `flyte`, `pyflyte` and `uv`."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from flyte.io import DataFrame, Dir, File
from handmade import TOTAL, TYPES, made_result
from mirror import mirror

from flyteplugins.codegen import CodeGenEvalResult, CodePlan
from flyteplugins.codegen.core.errors import GenerationFailedError, InvalidRequestError
from flyteplugins.codegen.core.result import Origin, RunDefaults, SecretName
from flyteplugins.codegen.results.export import export, task_name

BIN = Path(sys.executable).parent
OUTPUTS: dict[str, Any] = {"total": float, "rows": int}
SCALARS = {
    "text": str,
    "number": float,
    "count": int,
    "flag": bool,
    "when": datetime.datetime,
    "gap": datetime.timedelta,
    "day": datetime.date,
    "options": dict,
    "items": list,
}
HOSTILE = 'He said """stop""" \\" + exit(3) + r"""\n\\u202e\u202e\x1b[31m {{ 7 * 7 }} {% raw %}\'\'\' \\'


@pytest.fixture
def sales(tmp_path: Path) -> File:
    path = tmp_path / "sample" / 'o\'hara "x".csv'
    path.parent.mkdir()
    path.write_text("amount\n1.5\n2.5\n")
    return File(path=str(path))


async def totals(sales: File, **defaults: Any) -> CodeGenEvalResult:
    result = await made_result(TOTAL, outputs=OUTPUTS, samples={"sales": sales}, name="Total sales", **defaults)
    return result.model_copy(update={"plan": CodePlan(description="Adds up the amounts.", approach="")})


def run(*command: str, folder: Path, fails: bool = False) -> str:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=folder,
        env={**os.environ, "HOME": str(home), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def assert_is_tidy(module: Path) -> None:
    """As formatters and linters see it, at the narrowest and at the widest usual line."""
    for width in ("88", "120"):
        run("ruff", "format", "--isolated", "--diff", "--line-length", width, str(module), folder=module.parent)
    run(
        "ruff",
        "check",
        "--isolated",
        "--select",
        "E4,E7,E9,F,B,I,UP,C4,SIM,RET,PTH",
        str(module),
        folder=module.parent,
    )


async def test_the_flyte_module_runs_on_its_samples_and_on_other_data(sales: File, tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    export(await totals(sales), folder, "flyte")
    assert_is_tidy(folder / "pipeline.py")
    assert "flyteplugins" not in (folder / "pipeline.py").read_text()
    printed = run("flyte", "run", "--local", "pipeline.py", "total_sales", folder=folder)
    assert "o0=4.0" in printed
    assert "o1=2" in printed
    (folder / "other.csv").write_text("amount\n10\n")
    printed = run("flyte", "run", "--local", "pipeline.py", "total_sales", "--sales", "other.csv", folder=folder)
    assert "o0=10.0" in printed


async def test_flyte_serialises_the_module_as_it_is_with_its_limits_variables_and_secrets(
    sales: File, tmp_path: Path
) -> None:
    folder = tmp_path / "exported"
    result = await totals(
        sales,
        cpu="1",
        memory="512Mi",
        retries=2,
        timeout=90,
        env_vars={"REGION": 'it\'s "eu"'},
        secrets=[SecretName(key="warehouse", group="ops", as_env_var="WAREHOUSE")],
    )
    export(result, folder, "flyte")
    assert_is_tidy(folder / "pipeline.py")
    program = "import flyte.extras, pipeline; print(*flyte.extras.serialize_env(pipeline.env))"
    spec = run("python", "-c", program, folder=folder)
    for part in (
        'name: "total-sales.total_sales"',
        'value: "512Mi"',
        "retries: 2",
        "seconds: 90",
        '"it\\\'s \\"eu\\""',
        'key: "warehouse"',
    ):
        assert part in spec, part


async def test_flyte_ships_the_code_and_the_samples_with_the_module(sales: File, tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    files = export(await totals(sales), folder, "flyte")
    program = "import pipeline; print(*pipeline.env.include, sep='\\n')"
    shipped = run("python", "-c", program, folder=folder).splitlines()
    assert sorted(shipped) == sorted(str(path) for path in files if path.name not in {"pipeline.py", "README.md"})


@pytest.mark.parametrize("to", ["flyte", "flytekit"])
async def test_values_of_every_type_come_back_as_they_were(tmp_path: Path, to: str) -> None:
    result = await made_result(TYPES, inputs=SCALARS, outputs=SCALARS, name="echo")
    folder = tmp_path / "exported"
    export(result, folder, to)
    assert_is_tidy(folder / "pipeline.py")
    values = {
        "text": 'it\'s; $(touch hacked) "x"\n--flag=true\té',
        "number": -0.5,
        "count": -(2**60),
        "flag": False,
        "when": datetime.datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=datetime.timezone.utc),
        "gap": datetime.timedelta(days=-3, microseconds=1),
        "day": datetime.date(2024, 2, 29),
        "options": {"deep": [1, None, {"ü": 0.1}], "O'": "$(touch hacked)"},
        "items": '[1, [2], {"a": null}]',  # as text: Flyte has no type for a list of anything
    }
    start = "import datetime, pipeline, flyte\n"
    call = (
        "flyte.with_runcontext(mode='local').run(pipeline.echo, **values).outputs()"
        if to == "flyte"
        else ("pipeline.echo(**values)")
    )
    program = f"{start}values = {values!r}\ngiven = {call}\nassert list(given) == list(values.values()), given"
    run("python", "-c", program, folder=folder)
    assert not (folder / "hacked").exists()


async def test_folders_tables_and_several_files_come_back_as_they_were(tmp_path: Path) -> None:
    kinds = {"table": DataFrame, "frame": pd.DataFrame, "folder": Dir, "parts": list[File]}
    folder = tmp_path / "exported"
    result = (await mirror(kinds)).model_copy(update={"defaults": RunDefaults(name="echo")})
    export(result, folder, "flyte")
    assert_is_tidy(folder / "pipeline.py")
    assert 'with_pip_packages("pandas", "pyarrow")' in (folder / "pipeline.py").read_text()
    for name in ("x", "y"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "part.txt").write_text(name)
    program = """
import sys, pathlib, flyte, pandas as pd, pipeline
from flyte.io import DataFrame, Dir, File
frame, data = pd.DataFrame({"a": [1, 2]}), pathlib.Path(sys.argv[1])
env = flyte.TaskEnvironment("caller", depends_on=[pipeline.env])


@env.task
async def caller() -> str:
    parts = [File(path=str(data / name / "part.txt")) for name in "yx"]
    table, pandas, folder, several = await pipeline.echo(
        table=DataFrame.wrap_df(frame), frame=frame, folder=Dir(path=str(data)), parts=parts
    )
    assert (await table.open(pd.DataFrame).all()).equals(frame) and pandas.equals(frame)
    assert (pathlib.Path(folder.path) / "x" / "part.txt").read_text() == "x"
    return ", ".join(path.read_text() for path in sorted(pathlib.Path(several.path).iterdir()))


flyte.init()
print(flyte.with_runcontext(mode="local").run(caller).outputs()[0])
"""
    assert "y, x" in run("python", "-c", program, str(tmp_path / "data"), folder=folder)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [(dict, "[1]", "seen is not a JSON object"), (list, "{}", "seen is not a JSON array"), (Dir, "x", "NotADirectory")],
)
async def test_an_output_of_another_type_fails_the_exported_task(
    kind: type, text: str, said: str, tmp_path: Path
) -> None:
    export(await made_result(TYPES, {"seen": str}, {"seen": kind}, name="wrong"), tmp_path / "exported", "flyte")
    command = ("flyte", "run", "--local", "pipeline.py", "wrong", "--seen", text)
    assert said in run(*command, folder=tmp_path / "exported", fails=True)


async def test_the_readme_of_a_script_says_what_each_option_takes(tmp_path: Path) -> None:
    result = await mirror({"table": DataFrame, "folder": Dir, "parts": list[File], "options": dict})
    folder = tmp_path / "exported"
    export(result.model_copy(update={"input_examples": {"options": '{"a": "b c"}'}}), folder, "script")
    readme = (folder / "README.md").read_text()
    assert '--table=TABLE --folder=FOLDER --parts=FILE --options=\'{"a": "b c"}\' --outputs=outputs' in readme


async def test_a_file_output_is_there_after_the_task(sales: File, tmp_path: Path) -> None:
    result = await made_result(TYPES, inputs={"report": File}, outputs={"report": File}, name="copy")
    folder = tmp_path / "exported"
    export(result, folder, "flyte")
    program = (
        "import sys, pathlib, flyte, flyte.io, pipeline\nflyte.init()\n"
        "run = flyte.with_runcontext(mode='local').run(pipeline.copy, report=flyte.io.File(path=sys.argv[1]))\n"
        "print(pathlib.Path(run.outputs()[0].path).read_text())"
    )
    assert "2.5" in run("python", "-c", program, sales.path, folder=folder)


async def test_the_flytekit_module_runs_in_pyflyte(sales: File, tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    export(await totals(sales, cpu="1", memory="512Mi", retries=1, timeout=90), folder, "flytekit")
    assert_is_tidy(folder / "pipeline.py")
    assert "flyteplugins" not in (folder / "pipeline.py").read_text()
    assert "total=4.0, rows=2" in run("pyflyte", "run", "pipeline.py", "total_sales", folder=folder)
    (folder / "other.csv").write_text("amount\n10\n")
    printed = run("pyflyte", "run", "pipeline.py", "total_sales", "--sales", "other.csv", folder=folder)
    assert "total=10.0, rows=1" in printed


async def test_the_script_runs_in_uv_by_the_line_in_its_readme(sales: File, tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    export(await totals(sales), folder, "script")
    line = next(line for line in (folder / "README.md").read_text().splitlines() if line.startswith("uv run "))
    (folder / "script.sh").write_text(line)
    run("python", "-c", "import subprocess; subprocess.run(['sh', 'script.sh'], check=True)", folder=folder)
    assert (folder / "outputs" / "total").read_text() == "4.0"


@pytest.mark.parametrize("to", ["flyte", "flytekit", "script"])
async def test_the_line_in_the_readme_is_one_command_whatever_the_example_value_is(tmp_path: Path, to: str) -> None:
    example = "-x'; touch hacked; echo $(touch hacked) `touch hacked` \""
    plain = await made_result(TYPES, inputs={"text": str}, outputs={"text": str}, name="echo")
    folder = tmp_path / "exported"
    export(plain.model_copy(update={"input_examples": {"text": example}}), folder, to)
    lines = (folder / "README.md").read_text().splitlines()
    line = next(line for line in lines if line.startswith(("uv run ", "flyte run ", "pyflyte run ")))
    (folder / "script.sh").write_text(line)
    (folder / "outputs").mkdir()
    printed = run("python", "-c", "import subprocess; subprocess.run(['sh', 'script.sh'], check=True)", folder=folder)
    assert not (folder / "hacked").exists()
    given = (folder / "outputs" / "text").read_text() if to == "script" else printed
    assert 'touch hacked; echo $(touch hacked) `touch hacked` "' in given


async def test_code_that_fails_fails_the_task(tmp_path: Path) -> None:
    result = await made_result("import sys\nsys.exit('no such country')\n", outputs={"x": int}, name="fails")
    export(result, tmp_path / "exported", "flyte")
    printed = run("flyte", "run", "--local", "pipeline.py", "fails", folder=tmp_path / "exported", fails=True)
    assert "no such country" in printed
    assert "exited with status 1" in printed


@pytest.mark.parametrize("to", ["flyte", "flytekit"])
async def test_an_output_that_is_not_of_its_type_fails_the_task(tmp_path: Path, to: str) -> None:
    result = await made_result(TYPES, inputs={"seen": str}, outputs={"seen": bool}, name="wrong")
    folder = tmp_path / "exported"
    export(result, folder, to)
    command = ("flyte", "run", "--local") if to == "flyte" else ("pyflyte", "run")
    assert "KeyError" in run(*command, "pipeline.py", "wrong", "--seen", "1", folder=folder, fails=True)


@pytest.mark.parametrize("to", ["flyte", "flytekit"])
async def test_no_text_of_a_prompt_or_a_model_gets_out_of_its_place_in_the_module(tmp_path: Path, to: str) -> None:
    plain = await made_result(TYPES, inputs={"a": str}, outputs={"a": str}, name="plain", env_vars={"A": "b"})
    hostile = plain.model_copy(
        update={
            "plan": CodePlan(description=HOSTILE, approach=HOSTILE),
            "origin": Origin(prompt=HOSTILE),
            "defaults": plain.defaults.model_copy(update={"env_vars": {HOSTILE: HOSTILE}}),
        }
    )
    folder = tmp_path / "exported"
    export(hostile, folder, to)
    assert_is_tidy(folder / "pipeline.py")
    text = (folder / "pipeline.py").read_text()
    assert text.isascii()
    described = "pipeline.env.env_vars" if to == "flyte" else "pipeline.plain_task.environment"
    run("python", "-c", f"import pipeline; assert {described} == {{{HOSTILE!r}: {HOSTILE!r}}}", folder=folder)


@pytest.mark.parametrize("to", ["flyte", "flytekit"])
async def test_any_name_of_an_agent_and_of_an_input_gives_a_module_that_works(tmp_path: Path, to: str) -> None:
    names = ["name", "str", "flyte", "env", "HERE", "run_solution", "argument", "read_str", "Path", "value", "Outputs"]
    given = {name: f"is-{name}" for name in names}
    plain = await made_result(TYPES, inputs=dict.fromkeys(names, str), outputs={"name": str, "read_str": str})
    calls = []
    for number, agent in enumerate(["class", "2nd try", "flyte", "Größe!", "run_solution", "name", ""]):
        result = plain.model_copy(update={"defaults": plain.defaults.model_copy(update={"name": agent})})
        export(result, tmp_path / f"m{number}", to)
        assert_is_tidy(tmp_path / f"m{number}" / "pipeline.py")
        task = f"m{number}.{task_name(result)}"
        calls.append(
            f"flyte.with_runcontext(mode='local').run({task}, **given).outputs()"
            if to == "flyte"
            else f"{task}(**given)"
        )
    modules = "\n".join(f"from m{number} import pipeline as m{number}" for number in range(len(calls)))
    program = f"import flyte\n{modules}\ngiven = {given!r}\nfor got in [{', '.join(calls)}]:\n    print(*got)"
    assert run("python", "-c", program, folder=tmp_path).count("is-name is-read_str") == len(calls)


async def test_what_a_person_changed_is_replaced_only_when_asked_for(sales: File, tmp_path: Path) -> None:
    result, folder = await totals(sales), tmp_path / "exported"
    export(result, folder, "flyte")
    export(result, folder, "flyte")
    (folder / "pipeline.py").write_text("mine = 1\n")
    with pytest.raises(InvalidRequestError, match=r"pipeline\.py.*--force"):
        export(result, folder, "flyte")
    assert (folder / "pipeline.py").read_text() == "mine = 1\n"
    export(result, folder, "flyte", force=True)
    assert "total_sales" in (folder / "pipeline.py").read_text()
    assert {path.name for path in folder.iterdir()} == {"README.md", "pipeline.py", "samples", "solution.py"}


async def test_what_did_not_succeed_is_not_exported(sales: File, tmp_path: Path) -> None:
    failed = (await totals(sales)).model_copy(update={"success": False, "error": "the tests failed"})
    with pytest.raises(GenerationFailedError, match="the tests failed"):
        export(failed, tmp_path / "exported", "flyte")
    assert not (tmp_path / "exported").exists()


async def test_the_command_is_the_same_as_codegen_and_as_flyte_codegen(sales: File, tmp_path: Path) -> None:
    (await totals(sales)).save(tmp_path / "generation")
    for number, command in enumerate((["codegen"], ["flyte", "codegen"])):
        printed = run(*command, "export", "generation", "--to", "flyte", "--out", f"out{number}", folder=tmp_path)
        assert "pipeline.py" in printed
        document = run(*command, "show", "generation", "--json", folder=tmp_path)
        assert '"success": true' in document
        assert "No such option" in run(*command, "show", "generation", "--unknown", folder=tmp_path, fails=True)
        assert "is no saved generation" in run(*command, "show", "out0", folder=tmp_path, fails=True)
    assert (tmp_path / "out0" / "pipeline.py").read_bytes() == (tmp_path / "out1" / "pipeline.py").read_bytes()
