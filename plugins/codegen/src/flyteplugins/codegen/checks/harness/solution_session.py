"""pytest's side of the tests of a solution: the fixtures, and a report of what happened.

`conftest.py` hands it to pytest. It is a module of its own so that a process may load it before the tests are known.
"""

from __future__ import annotations

import gc
import json
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
PATIENCE, LEAST_SECONDS = 5, 10  # a program in the solution's place hangs if a run takes so much longer than the tests
LONGEST_MESSAGE = 1_500  # characters of a failure that are reported
LONGEST_STDERR = 500
ALL_PASSED = "All tests pass on the solution. Now on programs in its place, which they should refuse:"

# Not on the import path: whoever loads this has loaded them.
solution_runner: Any = sys.modules["solution_runner"]
processes: Any = sys.modules["solution_processes"]
served: Any = sys.modules["solution_served"]
SERVER = pytest.StashKey[Any]()
STUB = pytest.StashKey[Any]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the fixture."""
    group = parser.getgroup("solution")
    try:
        group.addoption("--solution", default="", help="the script that is tested, if not the one beside the tests")
    except ValueError:
        return  # another generation that is tested as well has them
    group.addoption("--solution-python", default=sys.executable, help="the interpreter that it runs on")
    group.addoption("--solution-seconds", type=float, default=300.0, help="time limit of one run of it")
    group.addoption("--solution-job", default="", help="file that says what to test besides, as JSON; see `Job`")
    group.addoption("--solution-report", default="", help="file that gets the report, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    """Shield this process from the solution."""
    processes.protect()


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Start the report and what runs the solution, which need not be there any earlier."""
    config = session.config
    if SERVER in config.stash:
        return  # asked for by two ways to the same folder
    job = Job.read(config.getoption("--solution-job"))
    if job.seconds:
        config.option.solution_seconds = job.seconds
    _server(config)
    report = Report(config.getoption("--solution-report"))
    config.pluginmanager.register(report)
    if job.programs:
        config.pluginmanager.register(OnlyVariants(job, report) if job.passed else Variants(job, report))


def begin(arguments: list[str], wait: Callable[[], object]) -> None:
    """Run pytest, begun before there is anything to test; does not return, unless pytest refuses the arguments.

    Args:
        arguments: pytest's.
        wait: Returns as soon as the solution, its tests and the job are there.
    """
    begun = Waiting(wait)
    sys.argv[:] = ["pytest", *arguments]
    status = pytest.main(arguments, [begun])
    if begun.waited:
        raise SystemExit(status)


class Waiting:
    """Holds pytest where it has done all that needs no tests; its clock starts afterwards."""

    def __init__(self, wait: Callable[[], object]) -> None:
        self._wait = wait
        self.waited = False

    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(self) -> None:
        """Wait."""
        self._wait()
        self.waited = True


@pytest.fixture(scope="session")
def _contract() -> Any:
    return solution_runner.Contract.read(HERE / "contract.json")


@pytest.fixture(scope="session")
def samples(_contract: Any) -> dict[str, Path]:
    """The sample files by input name, read-only."""
    return dict(_contract.samples)


@pytest.fixture
def run_solution(request: pytest.FixtureRequest, _contract: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs the solution: `run_solution(sales=path, threshold=0.5)` returns exit_code, outputs, stdout, stderr."""
    config = request.config
    runner = solution_runner.SolutionRunner(
        _contract,
        _solution(config),
        _python(config),
        Path(tempfile.mkdtemp(prefix="solution-", dir=tmp_path_factory.getbasetemp())),
        config.getoption("--solution-seconds"),
        _server(config),
        config.stash.get(STUB, None),
    )
    request.node.solution_runner = runner
    return runner


def _solution(config: pytest.Config) -> Path:
    return Path(config.getoption("--solution") or HERE / "solution.py").resolve()


def _python(config: pytest.Config) -> str:
    """The interpreter; raises UsageError for one that is not there."""
    wanted: str = config.getoption("--solution-python")
    found = shutil.which(wanted)
    if found is None:
        raise pytest.UsageError(f"--solution-python: there is no interpreter {wanted!r}.")
    return os.path.abspath(found)  # noqa: PTH100 # a link to it is an environment of its own


def _server(config: pytest.Config) -> Any:
    """What runs the solution faster; None for one that would notice."""
    if SERVER not in config.stash:
        waiting = served.take_waiting()
        config.stash[SERVER] = served.SolutionServer.for_program(_python(config), _solution(config), waiting)
    return config.stash[SERVER]


@dataclass(frozen=True)
class Program:
    """What stands in the solution's place.

    Attributes:
        stub: What it writes, by output, without looking at its inputs; None for a program that is run.
        code: The program that is run.
    """

    stub: dict[str, str] | None = None
    code: str = ""


@dataclass(frozen=True)
class Job:
    """What to do besides running the tests on the solution.

    Attributes:
        seconds: Time limit of one run of the solution; 0 for the one of the option.
        passed: How many seconds the tests took on the solution, where they passed before and are not run on it again.
        programs: What to run them on in its place.
    """

    seconds: float = 0.0
    passed: float = 0.0
    programs: tuple[Program, ...] = ()

    @classmethod
    def read(cls, path: str) -> Job:
        """Read `{"seconds": 60, "passed": 0, "stubs": [...], "mutants": [...]}`; nothing to do without a file."""
        if not path:
            return cls()
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        stubs = [Program(stub=stub) for stub in document["stubs"]]
        mutants = [Program(code=code) for code in document["mutants"]]
        return cls(document["seconds"], document["passed"], (*stubs, *mutants))


class Report:
    """Collects what happened and writes it when all is over, so that no run of the solution comes after it."""

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path else None
        self._cases: dict[str, dict[str, Any]] = {}
        self._errors: list[dict[str, Any]] = []
        self._timed_out = False
        self._started = time.monotonic()
        self._seconds: float | None = None
        self._exit_code: int | None = None
        self.variants: list[list[str] | None] = []

    @property
    def all_passed(self) -> bool:
        """Whether there were tests and each of them passed."""
        return bool(self._cases) and all(case["outcome"] == "passed" for case in self._cases.values())

    def all_tested(self) -> float:
        """Note that the tests of the solution are through; returns the seconds that they took."""
        if self._seconds is None:
            self._seconds = time.monotonic() - self._started
        return self._seconds

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note how a phase of a test went."""
        report = yield
        case = self._cases.setdefault(item.nodeid, {"name": item.name, "outcome": "passed", "message": ""})
        if report.when == "call":
            case["called"] = True
        if report.skipped and case["outcome"] == "passed":
            case |= {"outcome": "skipped", "message": shortened(str(report.longrepr or ""), LONGEST_MESSAGE)}
        elif report.failed and case["outcome"] != "failed":
            case |= {"outcome": "failed", **_failure(item, call, report)}
            if getattr(getattr(item, "solution_runner", None), "timed_out", False):
                # The next test would hang as well.
                self._timed_out = True
                item.session.shouldstop = "the solution did not end in time"
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Note why a file could not be collected."""
        report = yield
        if report.failed:
            raised = getattr(getattr(report, "call", None), "excinfo", None)
            error = raised.value if raised else None
            self._errors.append(_collection_error(error, str(report.longrepr), collector))
        return report

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the report."""
        if server := _server(session.config):
            server.close()
        if self._path is None:
            return
        document = {
            "exit_code": int(exitstatus),
            "collected": session.testscollected,
            "cases": list(self._cases.values()),
            "errors": self._errors,
            "timed_out": self._timed_out,
            "variants": self.variants,
            "seconds": self.all_tested(),
        }
        # Whatever a run of the solution put there goes.
        self._path.unlink(missing_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(document, stream)
        self._exit_code = int(exitstatus)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """End this process where the report was for another one: to take Python apart takes as long as a test."""
        if self._exit_code is not None:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self._exit_code)


class Variants:
    """Runs the tests, where they pass on the solution, on other programs in its place, each in a copy of this process.

    The copy is made before the first test: it has imported what the tests import, and nothing that a test keeps
    reaches another program.
    """

    def __init__(self, job: Job, report: Report) -> None:
        self._job = job
        self._report = report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Note for each program which tests refused it; None for one that ended its copy, nothing if it ended more."""
        gc.freeze()  # so that collecting garbage in a copy does not copy all that was imported
        before = processes.children()
        copy = processes.Copy(lambda limit: self._refused(session, limit))
        try:
            result = yield
            seconds = self._report.all_tested()
            if self._report.all_passed:
                session.config.get_terminal_writer().line(f"\n{ALL_PASSED}", flush=True)
                copy.order(_limit(session, seconds))
                self._report.variants = copy.result() or []
            return result
        finally:
            copy.close()
            processes.end_children(before)

    def _refused(self, session: pytest.Session, limit: float) -> list[list[str] | None]:
        session.config.option.solution_seconds = limit
        # Made once for all of them: it takes as long as a test.
        session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined] # noqa: SLF001 # no public way

        def refused(number: int, lane: int) -> list[str]:
            if server := _server(session.config):
                server.lane = lane
            return _refusals(session, self._job.programs[number])

        processes.protect()  # what a copy leaves behind comes to this process, which ends it
        return list(processes.in_copies(refused, range(len(self._job.programs)), served.LANES))


class OnlyVariants(Variants):
    """The same for tests that passed on the solution before."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> object:  # type: ignore[override] # pytest takes either
        """Note for each program which tests refused it."""
        if not session.testsfailed:
            self._report.variants = self._refused(session, _limit(session, self._job.passed))
        return True


def _limit(session: pytest.Session, seconds: float) -> float:
    """Time limit of a run of a program in the solution's place."""
    limit = max(LEAST_SECONDS, math.ceil(PATIENCE * seconds))
    return float(min(limit, session.config.getoption("--solution-seconds")))


def _refusals(session: pytest.Session, program: Program) -> list[str]:
    """The tests that refuse a program: all that refuse a stub, the first that refuses another."""
    # What `pytest_runtest_protocol` is made of: pytest has no public name for it, and by hand nobody needs it.
    from _pytest.runner import runtestprotocol

    processes.protect()
    if program.stub is not None:
        session.config.stash[STUB] = program.stub
    else:
        # In a folder of its own, and called as the solution is: it may look at both.
        file = Path(tempfile.mkdtemp(prefix="program-"), Path(session.config.option.solution).name)
        file.write_text(program.code, encoding="utf-8")
        session.config.option.solution = str(file)
    refused = []
    for item, following in zip(session.items, [*session.items[1:], None], strict=True):
        item.repr_failure = lambda *_, **__: "refused"  # type: ignore[method-assign] # the whole story takes longer than a test
        reports = runtestprotocol(item, log=False, nextitem=following)
        if not all(report.passed for report in reports):
            refused.append(item.name)
            if program.stub is None:
                break
    return refused


def shortened(text: str, longest: int) -> str:
    """Head and tail of a text."""
    if len(text) <= longest:
        return text
    head, tail = longest // 2, longest // 2 - 40
    return f"{text[:head]}\n... {len(text) - head - tail} characters left out ...\n{text[-tail:]}"


def _failure(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> dict[str, Any]:
    runner = getattr(item, "solution_runner", None)
    failed = [run for run in (runner.runs if runner else []) if run.exit_code]
    message = shortened(report.longreprtext, LONGEST_MESSAGE)
    missing = call.excinfo.value if call.excinfo and isinstance(call.excinfo.value, ModuleNotFoundError) else None
    in_tests = bool(call.excinfo and call.excinfo.traceback and call.excinfo.traceback[-1].path == item.path)
    return {
        "message": message,
        "error": call.excinfo.typename if call.excinfo else "",
        "module": getattr(missing, "name", None) or "",
        "in_tests": in_tests,
        "exit_code": failed[-1].exit_code if failed else 0,
        "stderr": shortened(failed[-1].stderr.strip(), LONGEST_STDERR) if failed else "",
    }


def _collection_error(error: BaseException | None, text: str, collector: pytest.Collector) -> dict[str, Any]:
    cause = error.__cause__ if error is not None and error.__cause__ is not None else error
    frame = cause.__traceback__ if cause is not None else None
    file = ""
    while frame is not None:
        file, frame = frame.tb_frame.f_code.co_filename, frame.tb_next
    if isinstance(cause, SyntaxError):
        file = cause.filename or file
    return {
        "error": type(cause).__name__ if cause is not None else "",
        "module": getattr(cause, "name", None) or "" if isinstance(cause, ModuleNotFoundError) else "",
        "in_tests": Path(file) == collector.path,
        "message": shortened(text, LONGEST_MESSAGE),
    }
