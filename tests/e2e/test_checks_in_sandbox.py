"""The checks of a draft, with the real sandbox: what passes, what fails, and whose fault that is."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flyte.io import File

from flyteplugins.codegen.checks.check import Bench, Subject, check
from flyteplugins.codegen.checks.suite import IN_TESTS_ENVIRONMENT
from flyteplugins.codegen.core.contract import Contract
from flyteplugins.codegen.core.environment import EnvironmentSpec
from flyteplugins.codegen.core.events import CheckFinished, Event
from flyteplugins.codegen.core.paths import HOME_VARIABLE, home
from flyteplugins.codegen.core.pinned import pin
from flyteplugins.codegen.core.verdict import Failure, SuiteProof, Verdict
from flyteplugins.codegen.packages.spec import python_version
from flyteplugins.codegen.sandbox.contract import Limits
from flyteplugins.codegen.sandbox.select import choose
from flyteplugins.codegen.tasks.executor import Environment, Executor

CONTRACT = Contract(
    inputs={"sales": "File", "threshold": "float"},
    outputs={"total": "float", "rows": "int", "kept": "File"},
    samples=("sales",),
)
SAMPLE = "region,amount\nnorth,10\nsouth,2.5\nnorth,7\nwest,4\n"

CODE = """
import argparse
import csv
from pathlib import Path


def read(path):
    with open(path, newline="") as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        raise SystemExit("the sales file has no rows")
    if "amount" not in rows[0]:
        raise SystemExit("column 'amount' is missing")
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sales", required=True)
    parser.add_argument("--threshold", type=float, required=True)
    parser.add_argument("--outputs", default="/var/outputs")
    args = parser.parse_args()
    kept = [row for row in read(args.sales) if float(row["amount"]) >= args.threshold]
    total = sum(float(row["amount"]) for row in kept)
    folder = Path(args.outputs)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "total").write_text(str(total))
    (folder / "rows").write_text(str(len(kept)))
    with open(folder / "kept", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["region", "amount"])
        for row in sorted(kept, key=lambda row: -float(row["amount"])):
            writer.writerow([row["region"], row["amount"]])


if __name__ == "__main__":
    main()
"""

TESTS = """
import csv

import pytest


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "sales.csv"
    path.write_text("region,amount\\na,1\\nc,3\\nb,5\\n")
    return path


@pytest.mark.parametrize(("threshold", "total"), [(0, 9.0), (3, 8.0), (4.5, 5.0)])
def test_total(run_solution, small, threshold, total):
    run = run_solution(sales=small, threshold=threshold)
    assert run.exit_code == 0
    assert run.outputs["total"] == pytest.approx(total)


def test_rows_of_the_sample(run_solution, samples):
    run = run_solution(threshold=5)
    with open(samples["sales"], newline="") as stream:
        assert run.outputs["rows"] == sum(float(row["amount"]) >= 5 for row in csv.DictReader(stream))


def test_kept_is_sorted(run_solution, small):
    run = run_solution(sales=small, threshold=2)
    assert run.outputs["kept"].read_text().split() == ["region,amount", "b,5", "c,3"]
"""


def changed(text: str, *pairs: tuple[str, str]) -> str:
    """A text with pieces replaced that must be there."""
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    # One for the module: the tests' environment is built once. No two tests check the same draft.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(tmp_path_factory.mktemp("codegen-home")))
        yield


@pytest.fixture(scope="module")
def _built(_home: None) -> tuple[Executor, Environment, Environment]:
    async def build() -> tuple[Executor, Environment, Environment]:
        runtime, _ = await choose("bubblewrap")
        executor = Executor(runtime)
        python = python_version()
        environment, tools = await asyncio.gather(
            executor.build(EnvironmentSpec(python=python)),
            executor.build(EnvironmentSpec(python=python, packages=("pytest",))),
        )
        return executor, environment, tools

    from flyteplugins.codegen.core.errors import SandboxUnavailableError

    try:
        return asyncio.run(build())
    except SandboxUnavailableError as error:
        pytest.skip(f"bubblewrap: {error}")


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def bench(_built: tuple[Executor, Environment, Environment], events: list[Event]) -> Bench:
    executor, _, tools = _built
    return Bench(
        executor=executor,
        tools=tools,
        limits=Limits(seconds=60, memory_bytes=512 << 20),
        env={},
        network=False,
        store=home() / "files",
        on_event=events.append,
        attempt=3,
    )


@pytest.fixture
def subject(_built: tuple[Executor, Environment, Environment], tmp_path: Path) -> Subject:
    return Subject(CODE, TESTS, CONTRACT, {"sales": stored(tmp_path, SAMPLE)}, {"threshold": "4"}, _built[1])


def stored(folder: Path, text: str, name: str = "sales.csv") -> File:
    path = folder / name
    path.write_text(text)
    return pin(path)


def failure_of(verdict: Verdict) -> Failure:
    assert verdict.failure is not None
    return verdict.failure


PROVED = SuiteProof(stubs=1, stubs_failed=1)
"""Given to `check` where the proof is not what a test is about: it is not made again then."""


async def test_a_right_solution_with_good_tests_passes_and_every_check_is_named(
    subject: Subject, bench: Bench, events: list[Event]
) -> None:
    verdict = await check(subject, bench)
    assert verdict.failure is None
    assert [check.name for check in verdict.checks if not check.passed] == []
    assert [check.name for check in verdict.checks] == [
        "the code keeps the script's contract",
        "the solution runs on the samples",
        "output `total` exists and is of type float",
        "output `rows` exists and is of type int",
        "output `kept` exists and is a file",
        "output `total` is a finite number",
        "a second run gives the same outputs",
        "`sales` without rows is refused",
        "`sales` without its column `amount` is refused",
    ]
    assert verdict.suite is not None
    assert [case.name for case in verdict.suite.cases] == [
        "test_total[0-9.0]",
        "test_total[3-8.0]",
        "test_total[4.5-5.0]",
        "test_rows_of_the_sample",
        "test_kept_is_sorted",
    ]
    assert verdict.proof is not None
    assert (verdict.proof.stubs, verdict.proof.stubs_failed) == (2, 2)
    assert verdict.proof.mutants >= 3
    assert verdict.proof.mutants_failed == verdict.proof.mutants
    assert set(verdict.proof.proved) == {case.name for case in verdict.suite.cases}
    assert [(event.stage, event.passed, event.attempt) for event in events if isinstance(event, CheckFinished)] == [
        ("static", True, 3),
        ("contract", True, 3),
        ("tests", True, 3),
        ("mutants", True, 3),
    ]


# The contract


async def test_a_broken_rule_of_the_script_ends_it_before_anything_runs(subject: Subject, bench: Bench) -> None:
    verdict = await check(replace(subject, code=changed(CODE, ("    main()\n", "    pass\n"))), bench)
    failure = failure_of(verdict)
    assert (failure.stage, failure.error_type) == ("static", "logic")
    assert len(verdict.checks) == 1


async def test_an_exit_status_other_than_0_fails_whatever_was_written(subject: Subject, bench: Bench) -> None:
    code = changed(CODE, ("\n\nif __name__", '\n    raise RuntimeError("after all was written")\n\n\nif __name__'))
    failure = failure_of(await check(replace(subject, code=code), bench))
    assert (failure.stage, failure.error_type) == ("contract", "logic")
    assert "exit status 1" in failure.message
    assert "after all was written" in failure.message


async def test_outputs_that_are_missing_or_of_another_type_are_named(subject: Subject, bench: Bench) -> None:
    code = changed(
        CODE,
        ('(folder / "total").write_text(str(total))', '(folder / "total").write_text(f"{total} EUR")'),
        ('(folder / "rows").write_text', "(folder / f\"{'rows'}.txt\").write_text"),
    )
    verdict = await check(replace(subject, code=code), bench)
    failure = failure_of(verdict)
    assert (failure.stage, failure.error_type) == ("contract", "logic")
    assert "`total`: '21.0 EUR' is not a number" in failure.message or "EUR' is not a number" in failure.message
    assert "`<outputs>/rows` was not written" in failure.message
    assert "`rows.txt`" in failure.message
    assert [check.passed for check in verdict.checks] == [True, True, False, False, True]


async def test_an_output_that_is_a_link_or_empty_does_not_count(subject: Subject, bench: Bench) -> None:
    linked = changed(
        CODE,
        ("import csv\n", "import csv\nimport os\n"),
        ('(folder / "total").write_text(str(total))', 'os.symlink("/etc/passwd", folder / "total")'),
    )
    assert "`total`" in failure_of(await check(replace(subject, code=linked), bench)).message
    empty = changed(
        CODE, ('with open(folder / "kept", "w"', 'open(folder / "kept", "w")\n    with open("/dev/null", "w"')
    )
    assert "`kept`: the file is empty" in failure_of(await check(replace(subject, code=empty), bench)).message


async def test_a_missing_module_is_the_environments_fault_and_its_distribution_is_named(
    subject: Subject, bench: Bench
) -> None:
    failure = failure_of(await check(replace(subject, code=changed(CODE, ("import csv", "import csv, yaml"))), bench))
    assert (failure.stage, failure.error_type, failure.packages) == ("contract", "environment", ("pyyaml",))
    assert "`yaml`" in failure.message


async def test_a_missing_shared_library_is_the_environments_fault(subject: Subject, bench: Bench) -> None:
    code = changed(CODE, ("import csv\n", 'import csv\nimport ctypes\n\nctypes.CDLL("libabsent.so.7")\n'))
    failure = failure_of(await check(replace(subject, code=code), bench))
    assert (failure.error_type, failure.packages) == ("environment", ())
    assert "libabsent.so.7" in failure.message


async def test_a_solution_that_hangs_is_wrong_and_says_how_to_raise_the_limit(subject: Subject, bench: Bench) -> None:
    code = changed(
        CODE, ("    kept = [", '    print("waiting", flush=True)\n    while True:\n        pass\n    kept = [')
    )
    bench = replace(bench, limits=replace(bench.limits, seconds=1.5))
    failure = failure_of(await check(replace(subject, code=code), bench))
    assert (failure.stage, failure.error_type, failure.final) == ("contract", "logic", True)
    assert "1.5 s" in failure.message
    assert "timeout=" in failure.message
    assert "waiting" in failure.message


async def test_a_solution_that_takes_too_much_memory_is_wrong(subject: Subject, bench: Bench) -> None:
    code = changed(CODE, ("    kept = [", "    hoard = [bytearray(1 << 20) for _ in range(2000)]\n    kept = ["))
    bench = replace(bench, limits=replace(bench.limits, memory_bytes=128 << 20))
    failure = failure_of(await check(replace(subject, code=code), bench))
    assert (failure.stage, failure.error_type, failure.final) == ("contract", "logic", True)
    assert "128 MiB" in failure.message


async def test_a_second_run_that_differs_is_advice_that_names_the_outputs(subject: Subject, bench: Bench) -> None:
    code = changed(
        CODE,
        (
            'sorted(kept, key=lambda row: -float(row["amount"]))',
            "[dict(r) for r in {tuple(row.items()) for row in read(args.sales)}]",
        ),
    )
    verdict = await check(replace(subject, code=code, tests=None), bench)
    assert verdict.failure is None
    (advice,) = [check for check in verdict.checks if not check.passed]
    assert (advice.name, advice.advisory) == ("a second run gives the same outputs", True)
    assert advice.detail.startswith("kept ")


async def test_a_solution_that_needs_its_folder_to_be_there_gets_advice(subject: Subject, bench: Bench) -> None:
    code = changed(CODE, ("    folder.mkdir(parents=True, exist_ok=True)\n", ""))
    verdict = await check(replace(subject, code=code, tests=None), bench)
    (advice,) = [check for check in verdict.checks if not check.passed]
    assert "did not exist" in advice.detail
    assert "FileNotFoundError" in advice.detail


async def test_numbers_that_are_none_are_advice(subject: Subject, bench: Bench) -> None:
    code = changed(CODE, ('(folder / "total").write_text(str(total))', '(folder / "total").write_text("nan")'))
    verdict = await check(replace(subject, code=code, tests=None), bench)
    (advice,) = [check for check in verdict.checks if not check.passed]
    assert (advice.name, advice.advisory) == ("output `total` is a finite number", True)


async def test_probes_that_pass_in_silence_or_name_no_cause_are_advice(subject: Subject, bench: Bench) -> None:
    code = changed(
        CODE,
        ('        raise SystemExit("the sales file has no rows")\n', "        return rows\n"),
        ("raise SystemExit(\"column 'amount' is missing\")", 'raise SystemExit("bad input")'),
    )
    verdict = await check(replace(subject, code=code, tests=None), bench)
    assert verdict.failure is None
    details = {check.name: check.detail for check in verdict.checks if not check.passed}
    assert list(details) == ["`sales` without rows is refused", "`sales` without its column `amount` is refused"]
    assert "exit status 0" in details["`sales` without rows is refused"]
    assert "bad input" in details["`sales` without its column `amount` is refused"]


async def test_a_bare_key_error_names_the_missing_column(subject: Subject, bench: Bench) -> None:
    code = changed(
        CODE, ('    if "amount" not in rows[0]:\n        raise SystemExit("column \'amount\' is missing")\n', "")
    )
    verdict = await check(replace(subject, code=code, tests=None), bench)
    assert [check.name for check in verdict.checks if not check.passed] == []


async def test_without_declared_outputs_exit_status_0_is_the_contract(subject: Subject, bench: Bench) -> None:
    code = """
import argparse


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--greeting", required=True)
    print("said", parser.parse_args().greeting)


if __name__ == "__main__":
    main()
"""
    tests = """
def test_it_says_the_greeting(run_solution):
    assert run_solution(greeting="it's $(id) \\\\n;").stdout == "said it's $(id) \\\\n;\\n"
"""
    contract = Contract(inputs={"greeting": "str"}, outputs={})
    quiet = replace(subject, code=code, tests=tests, contract=contract, samples={}, examples={"greeting": "O'; id"})
    verdict = await check(quiet, bench)
    assert verdict.failure is None
    assert verdict.output == "said O'; id"
    assert verdict.proof is not None
    assert (verdict.proof.stubs, verdict.proof.stubs_failed) == (1, 1)


# The tests


async def run_tests(subject: Subject, bench: Bench, tests: str, code: str = CODE) -> Verdict:
    return await check(replace(subject, code=code, tests=textwrap.dedent(tests)), bench, proof=PROVED)


async def test_a_failing_assertion_is_left_to_judgement_with_its_message(subject: Subject, bench: Bench) -> None:
    tests = changed(TESTS, ("(4.5, 5.0)", "(4.5, 6.0)"))
    verdict = await run_tests(subject, bench, tests)
    failure = failure_of(verdict)
    assert (failure.stage, failure.error_type, failure.tests) == ("tests", None, ("test_total[4.5-6.0]",))
    assert "6.0" in failure.message
    assert failure.message.startswith("1 of 5 tests failed")
    assert verdict.suite is not None
    assert [case.passed for case in verdict.suite.cases] == [True, True, False, True, True]
    # The same failure of another draft has the same signature; another failure has not.
    again = await run_tests(subject, bench, "# moved down\n" + tests)
    other = await run_tests(subject, bench, changed(TESTS, ("(4.5, 5.0)", "(4.5, 7.0)")))
    assert failure_of(again).signature == failure.signature
    assert failure_of(other).signature != failure.signature


async def test_what_the_solution_said_stands_beside_a_failed_test(subject: Subject, bench: Bench) -> None:
    tests = """
    def test_total(run_solution, tmp_path):
        path = tmp_path / "sales.csv"
        path.write_text("region,amount\\na,many\\n")
        assert run_solution(sales=path, threshold=0).outputs["total"] == 0
    """
    failure = failure_of(await run_tests(subject, bench, tests))
    assert failure.error_type is None
    assert "did not write the output 'total'" in failure.message
    assert "could not convert string to float: 'many'" in failure.message


@pytest.mark.parametrize(
    ("tests", "said"),
    [
        ("def test_total(run_solution:\n    pass\n", "do not parse in line 1"),
        ("def check_total(run_solution):\n    pass\n", "no test"),
        ("from math import no_such_name\n\ndef test_total():\n    pass\n", "no_such_name"),
        ("ROWS = 1 / 0\n\ndef test_total():\n    pass\n", "ZeroDivisionError"),
        ("def test_total(run_program):\n    pass\n", "fixture 'run_program' not found"),
        ("def test_total(run_solution):\n    assert run_solution(threshold=1).outputs == expected\n", "'expected'"),
        ("def test_total(run_solution):\n    run_solution(treshold=1)\n", "run_solution() got treshold"),
        ("def test_total(run_solution):\n    run_solution()\n", "needs a value for threshold"),
        ("import pytest\n\ndef test_total():\n    pytest.skip('later')\n", "skipped"),
    ],
)
async def test_faults_that_can_only_be_the_tests_need_no_judgement(
    subject: Subject, bench: Bench, tests: str, said: str
) -> None:
    failure = failure_of(await run_tests(subject, bench, tests))
    assert (failure.stage, failure.error_type) == ("tests", "test_error")
    assert said in failure.message


@pytest.mark.parametrize("indent", ["", "def test_total():\n    "])
async def test_a_module_that_the_tests_lack_is_told_apart(subject: Subject, bench: Bench, indent: str) -> None:
    failure = failure_of(await run_tests(subject, bench, f"{indent}import sklearn.metrics\n"))
    assert (failure.error_type, failure.packages) == ("environment", ("scikit-learn",))
    assert failure.message.startswith(IN_TESTS_ENVIRONMENT)


async def test_a_module_that_the_solution_lacks_only_in_a_test_is_its_environments_fault(
    subject: Subject, bench: Bench
) -> None:
    code = changed(CODE, ("    kept = [", "    if args.threshold == 1:\n        import openpyxl\n    kept = ["))
    tests = "def test_rows(run_solution):\n    assert run_solution(threshold=1).exit_code == 0\n"
    failure = failure_of(await run_tests(subject, bench, tests, code))
    assert (failure.stage, failure.error_type, failure.packages) == ("tests", "environment", ("openpyxl",))
    assert failure.tests == ("test_rows",)
    assert not failure.message.startswith(IN_TESTS_ENVIRONMENT)


async def test_a_solution_that_hangs_in_a_test_ends_the_run_of_the_tests(subject: Subject, bench: Bench) -> None:
    code = changed(CODE, ("    kept = [", "    while args.threshold == 3:\n        pass\n    kept = ["))
    bench = replace(bench, limits=replace(bench.limits, seconds=8))
    verdict = await run_tests(subject, bench, TESTS, code)
    failure = failure_of(verdict)
    assert (failure.stage, failure.error_type, failure.final) == ("tests", "logic", True)
    assert failure.tests == ("test_total[3-8.0]",)
    assert verdict.suite is not None
    assert [case.passed for case in verdict.suite.cases] == [True, False]


async def test_tests_that_hang_themselves_are_ended(subject: Subject, bench: Bench) -> None:
    bench = replace(bench, limits=replace(bench.limits, seconds=2))
    failure = failure_of(await run_tests(subject, bench, "def test_total():\n    while True:\n        pass\n"))
    assert (failure.stage, failure.error_type, failure.final) == ("tests", "logic", True)


async def test_tests_that_print_megabytes_stay_within_the_budget(subject: Subject, bench: Bench) -> None:
    tests = """
    def test_total(run_solution):
        print("x" * 5_000_000)
        assert "y" * 1_000_000 == run_solution(threshold=1).stdout
    """
    verdict = await run_tests(subject, bench, tests)
    assert "test_total" in failure_of(verdict).message
    assert len(verdict.model_dump_json()) < 30_000


async def test_many_failing_tests_stay_within_the_budget(subject: Subject, bench: Bench) -> None:
    tests = """
    import pytest

    @pytest.mark.parametrize("number", range(300))
    def test_number(number):
        assert [number] * 100 == [0] * 100, "z" * 1000
    """
    failure = failure_of(await run_tests(subject, bench, tests))
    assert len(failure.message) <= 6_000
    assert len(failure.tests) == 299


async def test_a_solution_that_tampers_with_its_tests_does_not_pass(subject: Subject, bench: Bench) -> None:
    # It ends the tests' process, writes a report of its own, leaves a process behind that writes another one, and
    # puts modules where Python might look for them.
    forged = '{"exit_code": 0, "cases": [{"name": "test_total", "outcome": "passed"}]}'
    attack = f"""
    import os, signal, subprocess, sys, time
    report = {forged!r}
    for folder in ("/var/outputs", "/tmp", os.getcwd(), os.path.expanduser("~")):
        for name in ("report.json", "difflib.py", "sitecustomize.py", "pytest.py", "conftest.py"):
            try:
                text = report if name == "report.json" else "import os; os._exit(0)"
                open(os.path.join(folder, name), "w").write(text)
            except OSError:
                pass
    try:
        open(f"/proc/{{os.getppid()}}/mem", "r+b")
        print("memory is open")
    except OSError:
        pass
    again = "while True: " + f"open('/var/outputs/report.json', 'w').write({{report!r}})"
    if args.threshold == 4.5:
        subprocess.Popen([sys.executable, "-c", again], start_new_session=True)
        total = 0
    if args.threshold == 7:
        os._exit(0)
    if args.threshold == 8:
        os.kill(os.getppid(), signal.SIGKILL)
"""
    code = changed(CODE, ("    folder = Path(args.outputs)\n", attack + "    folder = Path(args.outputs)\n"))
    verdict = await run_tests(subject, bench, TESTS + "    assert 'memory' not in run.stdout\n", code)
    assert failure_of(verdict).tests == ("test_total[4.5-5.0]",)
    exits = "def test_exit(run_solution):\n    assert run_solution(threshold=7).outputs['rows'] == 1\n"
    assert failure_of(await run_tests(subject, bench, exits, code)).tests == ("test_exit",)
    kills = "def test_kill(run_solution):\n    assert run_solution(threshold=8).exit_code == 0\n"
    assert failure_of(await run_tests(subject, bench, kills, code)).stage == "tests"


async def test_tests_that_end_their_own_process_do_not_pass(subject: Subject, bench: Bench) -> None:
    failure = failure_of(await run_tests(subject, bench, "import os\n\ndef test_total():\n    os._exit(0)\n"))
    assert (failure.stage, failure.error_type) == ("tests", "test_error")


async def test_the_fixture_passes_values_of_every_type_unchanged(subject: Subject, bench: Bench) -> None:
    kinds = {"text": "str", "number": "int", "share": "float", "flag": "bool", "day": "datetime", "span": "timedelta"}
    code = """
import argparse
from pathlib import Path

NAMES = {"text": "text_out", "number": "number_out", "share": "share_out"}
NAMES |= {"flag": "flag_out", "day": "day_out", "span": "span_out"}


def main():
    parser = argparse.ArgumentParser()
    for name in NAMES:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--outputs", default="/var/outputs")
    args = vars(parser.parse_args())
    folder = Path(args["outputs"])
    folder.mkdir(parents=True, exist_ok=True)
    for name, output in NAMES.items():
        (folder / output).write_text(args[name], newline="")


if __name__ == "__main__":
    main()
"""
    tests = """
import datetime


def test_every_value_comes_back(run_solution):
    given = {
        "text": "-- it's\\n$(id) \\u00e4 '\\"" + "x" * 1_000_000,
        "number": -3,
        "share": 0.1,
        "flag": False,
        "day": datetime.datetime(2026, 11, 21, 3, 4, 5, tzinfo=datetime.timezone.utc),
        "span": datetime.timedelta(days=-1, seconds=7, microseconds=5),
    }
    run = run_solution(**given)
    assert run.exit_code == 0, run.stderr
    assert {name: run.outputs[f"{name}_out"] for name in given} == given
    assert set(run.outputs) == {f"{name}_out" for name in given}
"""
    contract = Contract(inputs=kinds, outputs={f"{name}_out": kind for name, kind in kinds.items()})
    examples = {"text": "a", "number": "1", "share": "0.5", "flag": "true", "day": "2026-01-01", "span": "1:00:00"}
    typed = replace(subject, code=code, tests=tests, contract=contract, samples={}, examples=examples)
    assert (await check(typed, bench, proof=PROVED)).failure is None


# The proof


@pytest.mark.parametrize(
    "tests",
    [
        "def test_nothing():\n    assert True\n",
        "def test_it_runs(run_solution):\n    assert run_solution(threshold=1).exit_code == 0\n",
        "def test_it_writes(run_solution):\n    assert run_solution(threshold=1).outputs['rows'] >= 0\n",
    ],
)
async def test_tests_that_cannot_fail_are_no_tests(subject: Subject, bench: Bench, tests: str) -> None:
    verdict = await check(replace(subject, tests=tests), bench)
    failure = failure_of(verdict)
    assert (failure.stage, failure.error_type) == ("suite", "test_error")
    assert "do nothing of what is asked" in failure.message
    assert verdict.proof is not None
    assert not verdict.proof.convincing
    assert verdict.suite is not None
    assert verdict.suite.passed


async def test_tests_that_look_at_one_output_only_let_mutants_through_and_hear_which(
    subject: Subject, bench: Bench
) -> None:
    tests = (
        "def test_kept(run_solution):\n    assert run_solution(threshold=1).outputs['kept'].read_text()[:3] == 'reg'\n"
    )
    verdict = await check(replace(subject, tests=tests), bench)
    failure = failure_of(verdict)
    assert (failure.stage, failure.error_type) == ("suite", "test_error")
    assert verdict.proof is not None
    assert verdict.proof.survivors
    assert all(change in failure.message for change in verdict.proof.survivors)


async def test_mutants_that_hang_or_take_all_memory_count_as_refused(subject: Subject, bench: Bench) -> None:
    wasteful = """
    block = b"x" * (30_000 // 30_000)
    steps = 0
    while steps < len(block):
        steps += 1
    kept = ["""
    bench = replace(bench, limits=replace(bench.limits, seconds=15))
    verdict = await check(replace(subject, code=changed(CODE, ("    kept = [", wasteful))), bench)
    assert verdict.failure is None
    assert verdict.proof is not None
    # Turning the condition of the loop round changes nothing that shows, so that one is not counted.
    assert (verdict.proof.mutants, verdict.proof.mutants_failed) == (5, 5)


GUARDED = changed(
    CODE,
    ("import csv\n", "import csv\nimport os\nimport signal\nimport subprocess\nimport sys\n"),
    (
        "    folder = Path(args.outputs)\n",
        "    if len(kept) < 0:\n        HARM\n    if total < 0:\n        HARM\n    folder = Path(args.outputs)\n",
    ),
)
"""Two of its mutants do harm, in a lane each; after them comes one that sorts the other way round."""

ABOVE = """
import glob, os, signal
parents = {}
for path in glob.glob("/proc/[0-9]*/stat"):
    fields = open(path).read().rpartition(")")[2].split()
    parents[int(path.split("/")[2])] = int(fields[1])
above = [os.getpid()]
while parents.get(above[-1]):
    above.append(parents[above[-1]])
"""
END_LANES = f"""{ABOVE}
for pid, parent in parents.items():
    if parent not in above and parents.get(parent) in above[1:]:
        os.kill(pid, signal.SIGKILL)
"""
INTERRUPT_TESTS = f"""{ABOVE}
for pid in above[1:-1]:
    os.kill(pid, signal.SIGINT)
"""
MEDDLE = """
import glob, time
while True:
    for path in glob.glob("/tmp/**/outputs/kept", recursive=True):
        open(path, "w").write("nothing")
    time.sleep(0.01)
"""


@pytest.mark.parametrize(
    ("harm", "refused"),
    [
        pytest.param("pass", False, id="nothing"),
        pytest.param("os.kill(os.getppid(), signal.SIGKILL)", True, id="ends what started it"),
        pytest.param("os.kill(int('-1'), signal.SIGKILL)", True, id="ends all that it may"),
        pytest.param(f"exec({END_LANES!r})", True, id="ends those that run the others"),
        pytest.param(f"exec({INTERRUPT_TESTS!r})", True, id="interrupts the tests"),
        pytest.param("while True: pass", True, id="never ends"),
        pytest.param(
            f"subprocess.Popen([sys.executable, '-c', {MEDDLE!r}], start_new_session=True)",
            False,
            id="leaves one that meddles",
        ),
    ],
)
async def test_what_a_mutant_does_to_what_runs_it_changes_nothing_of_what_is_found_of_the_others(
    subject: Subject, bench: Bench, harm: str, refused: bool
) -> None:
    tests = """
import time


def test_kept(run_solution, samples):
    run = run_solution(threshold=5)
    assert run.exit_code == 0
    time.sleep(0.5)
    assert sorted(run.outputs["kept"].read_text().split()) == ["north,10", "north,7", "region,amount"]
    assert (run.outputs["rows"], run.outputs["total"]) == (2, 17)
"""
    bench = replace(bench, limits=replace(bench.limits, seconds=15))
    verdict = await check(replace(subject, code=GUARDED.replace("HARM", harm), tests=tests), bench)
    assert verdict.suite is not None
    assert verdict.suite.passed
    assert verdict.proof is not None
    (survivor,) = verdict.proof.survivors
    assert survivor.endswith("`-float(row['amount'])` became `float(row['amount'])`")
    assert verdict.proof.mutants_failed == 2 + (2 if refused else 0)


async def test_a_proof_that_exists_is_not_made_again(subject: Subject, bench: Bench) -> None:
    verdict = await check(replace(subject, tests="def test_nothing():\n    assert True\n"), bench, proof=PROVED)
    assert verdict.failure is None
    assert verdict.proof == PROVED
