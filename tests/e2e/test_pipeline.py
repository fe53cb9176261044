"""The pipeline against a scripted model over HTTP; sandbox, environments and tests are real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from endpoint import Endpoint, Reply
from handmade import PLAN, coded
from handmade import TOTAL_AND_COUNT as CODE

from flyteplugins.codegen import AutoCoderAgent, CodeGenEvalResult
from flyteplugins.codegen.core.errors import ModelRefusedError
from flyteplugins.codegen.core.events import AttemptFinished, Event

pytestmark = pytest.mark.isolation


TESTS = """
def write(path, *amounts):
    path.write_text("day,amount\\n" + "".join(f"d{i},{amount}\\n" for i, amount in enumerate(amounts)))
    return path


def test_total_adds_the_amounts(run_solution, tmp_path):
    run = run_solution(sales=write(tmp_path / "sales.csv", 1.5, 2.0, -4.25))
    assert run.exit_code == 0
    assert run.outputs["total"] == -0.75


def test_count_counts_the_rows(run_solution, tmp_path):
    assert run_solution(sales=write(tmp_path / "sales.csv", 5, 5, 7)).outputs["count"] == 3


def test_sample(run_solution):
    assert run_solution().outputs == {"total": 12.0, "count": 3}
"""

WRONG_TESTS = TESTS.replace("== -0.75", "== 7.75")
WRONG_CODE = CODE.replace("sum(amounts)", "sum(map(abs, amounts))")


def code(source: str = CODE, **more: Any) -> dict[str, Any]:
    return coded(source, **more)


def suite(source: str = TESTS) -> dict[str, Any]:
    return {"code": source, "packages": [], "coverage": []}


def diagnosis(error_type: str, **more: Any) -> dict[str, Any]:
    verdict = {"error_type": error_type, "reason": "The sum keeps the sign.", "request_quote": "Add up the amounts"}
    return {**verdict, "instructions": "Mend it.", "packages": [], "system_packages": [], "tests": [], **more}


@pytest.fixture
def sales(tmp_path: Path) -> Path:
    path = tmp_path / "sales.csv"
    path.write_text("day,amount\nmon,3.5\ntue,4.5\nwed,4\n")
    return path


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def agent(endpoint: Endpoint, events: list[Event]) -> AutoCoderAgent:
    return AutoCoderAgent(
        model="openai/scripted", api_base=endpoint.url, name="pipeline", max_iterations=6, on_event=events.append
    )


def generate(agent: AutoCoderAgent, sales: Path, **more: Any) -> CodeGenEvalResult:
    asked: dict[str, Any] = {
        "prompt": "Add up the amounts and count the rows.",
        "samples": {"sales": sales},
        "outputs": {"total": float, "count": int},
    }
    return agent.generate(**{**asked, **more})


def steps(endpoint: Endpoint) -> list[str | None]:
    return sorted(request.step or "" for request in endpoint.requests)  # type: ignore[return-value] # names only


@pytest.mark.quick
def test_the_happy_path_makes_three_calls_and_a_result_that_runs(
    agent: AutoCoderAgent, endpoint: Endpoint, sales: Path, tmp_path: Path
) -> None:
    endpoint.say_to("plan", PLAN)
    endpoint.say_to("code", code())
    endpoint.say_to("tests", suite())
    result = generate(agent, sales)
    assert result.success, result.error
    assert steps(endpoint) == ["code", "plan", "tests"]
    assert (result.attempts, result.exit_code, result.error) == (1, 0, None)
    assert result.run() == (12.0, 3)
    other = tmp_path / "other.csv"
    other.write_text("day,amount\nmon,1\n")
    assert result.run(sales=other) == (1.0, 1)
    assert result.total_input_tokens == 300
    assert result.receipt.proof is not None
    assert result.receipt.proof.stubs == result.receipt.proof.stubs_failed > 0
    assert all(check.passed for check in result.receipt.checks)
    assert result.detected_packages == []


def test_the_tests_are_asked_for_without_the_code(agent: AutoCoderAgent, endpoint: Endpoint, sales: Path) -> None:
    endpoint.say_to("plan", PLAN)
    endpoint.say_to("code", code())
    endpoint.say_to("tests", suite())
    generate(agent, sales)
    asked = next(request for request in endpoint.requests if request.step == "tests")
    assert "argparse.ArgumentParser" not in str(asked.messages)
    assert PLAN["approach"] in str(asked.messages)


def test_wrong_code_is_repaired_and_the_tests_stay(
    agent: AutoCoderAgent, endpoint: Endpoint, sales: Path, events: list[Event]
) -> None:
    endpoint.say_to("plan", PLAN)
    endpoint.say_to("code", code(WRONG_CODE))
    endpoint.say_to("tests", suite())
    endpoint.say_to("diagnosis", diagnosis("logic"))
    endpoint.say_to("repair_code", code())
    result = generate(agent, sales)
    assert result.success, result.error
    assert result.attempts == 2
    assert result.tests is not None
    assert result.tests.strip() == TESTS.strip()
    judged = [event for event in events if isinstance(event, AttemptFinished)]
    assert [(event.passed, event.error_type) for event in judged] == [(False, "logic"), (True, None)]


def test_a_wrong_test_is_mended_and_the_code_stays(agent: AutoCoderAgent, endpoint: Endpoint, sales: Path) -> None:
    endpoint.say_to("plan", PLAN)
    endpoint.say_to("code", code())
    endpoint.say_to("tests", suite(WRONG_TESTS))
    endpoint.say_to("diagnosis", diagnosis("test_error", tests=["test_total_adds_the_amounts"]))
    mended = TESTS[TESTS.index("def test_total") : TESTS.index("def test_count")].strip()
    endpoint.say_to("repair_tests", {"tests": [{"name": "test_total_adds_the_amounts", "code": mended}], "imports": []})
    result = generate(agent, sales)
    assert result.success, result.error
    assert result.solution is not None
    assert result.solution.code.strip() == CODE.strip()
    assert "repair_code" not in steps(endpoint)


def test_code_that_does_not_parse_is_asked_for_again_and_never_built(
    agent: AutoCoderAgent, endpoint: Endpoint, sales: Path
) -> None:
    endpoint.say_to("plan", PLAN)
    endpoint.say_to("code", code("def main(:"), code("def main(:"))
    # From then on as a text, in which code breaks least: the same twice, and then the repair.
    endpoint.say(*(Reply(f"```python\n{text}\n```") for text in ("def main(:", "def main(:", CODE)))
    endpoint.say_to("tests", suite())
    result = generate(agent, sales)
    assert result.success, result.error
    assert steps(endpoint) == ["", "", "", "code", "code", "plan", "tests"]
    assert [attempt.passed for attempt in result.history] == [False, True]


def test_code_that_breaks_the_contract_goes_back_without_a_diagnosis(
    agent: AutoCoderAgent, endpoint: Endpoint, sales: Path
) -> None:
    endpoint.say_to("plan", PLAN)
    endpoint.say_to("code", code(CODE.replace('"--sales"', '"--file"')))
    endpoint.say_to("tests", suite())
    endpoint.say_to("repair_code", code())
    result = generate(agent, sales)
    assert result.success, result.error
    assert "diagnosis" not in steps(endpoint)
    told = next(request for request in endpoint.requests if request.step == "repair_code")
    assert "--sales" in str(told.messages[-1])


def test_tests_that_cannot_fail_are_not_enough(agent: AutoCoderAgent, endpoint: Endpoint, sales: Path) -> None:
    endpoint.say_to("plan", PLAN)
    endpoint.say_to("code", code())
    endpoint.say_to("tests", suite("def test_runs(run_solution):\n    assert run_solution() is not None\n"))
    endpoint.say_to("more_tests", suite())
    result = generate(agent, sales)
    assert result.success, result.error
    assert result.tests is not None
    assert "test_runs" in result.tests
    assert "test_total_adds_the_amounts" in result.tests


def test_the_same_failure_three_times_stops_with_the_reason(
    agent: AutoCoderAgent, endpoint: Endpoint, sales: Path
) -> None:
    endpoint.say_to("plan", PLAN)
    endpoint.say_to("code", code(WRONG_CODE))
    endpoint.say_to("tests", suite())
    endpoint.say_to("diagnosis", *[diagnosis("logic")] * 6)
    endpoint.say_to("repair_code", *[code(WRONG_CODE + f"# version {i}\n") for i in range(6)])
    same = TESTS[TESTS.index("def test_total") : TESTS.index("def test_count")].strip()
    repaired = {"tests": [{"name": "test_total_adds_the_amounts", "code": same}], "imports": []}
    endpoint.say_to("repair_tests", *[repaired] * 6)
    result = generate(agent, sales)
    assert not result.success
    assert result.attempts == 3
    assert result.error is not None
    assert "same failure" in result.error
    # the second time the other artefact was tried
    assert steps(endpoint).count("repair_code") == 1
    assert steps(endpoint).count("repair_tests") == 1
    assert result.solution is not None
    assert result.tests is not None


def test_a_missing_package_is_added_without_asking(agent: AutoCoderAgent, endpoint: Endpoint, sales: Path) -> None:
    lazy = CODE.replace("def main():", "def main():\n    __import__('si' + 'x')")
    endpoint.say_to("plan", PLAN)
    endpoint.say_to("code", code(lazy))
    endpoint.say_to("tests", suite())
    result = generate(agent, sales)
    assert result.success, result.error
    assert result.attempts == 2
    assert result.detected_packages == ["six"]
    assert steps(endpoint) == ["code", "plan", "tests"]


def test_a_package_that_does_not_exist_is_told_to_the_model(
    agent: AutoCoderAgent, endpoint: Endpoint, sales: Path
) -> None:
    invented = CODE.replace("import csv", "import csv\nimport surely_no_such_package_1x9")
    endpoint.say_to("plan", PLAN)
    endpoint.say_to("code", code(invented))
    endpoint.say_to("tests", suite())
    endpoint.say_to("repair_code", code())
    result = generate(agent, sales)
    assert result.success, result.error
    told = next(request for request in endpoint.requests if request.step == "repair_code")
    assert "surely-no-such-package-1x9" in str(told.messages[-1])


def test_a_budget_ends_a_generation_with_the_best_so_far(
    agent: AutoCoderAgent, endpoint: Endpoint, sales: Path
) -> None:
    endpoint.say_to("plan", PLAN)
    endpoint.say_to("code", code(WRONG_CODE))
    endpoint.say_to("tests", suite())
    bounded = AutoCoderAgent(model=agent.model, api_base=agent.api_base, max_calls=3)
    result = generate(bounded, sales)
    assert not result.success
    assert result.solution is not None
    assert result.error is not None
    assert "max_calls=3" in result.error
    assert "test_total_adds_the_amounts" in result.error


def test_a_limit_on_time_ends_a_generation_with_the_best_so_far(
    agent: AutoCoderAgent, endpoint: Endpoint, sales: Path
) -> None:
    endpoint.say_to("plan", PLAN)
    endpoint.say_to("code", code(CODE.replace("def main():", "def main():\n    import time; time.sleep(60)")))
    endpoint.say_to("tests", suite())
    bounded = AutoCoderAgent(model=agent.model, api_base=agent.api_base, max_seconds=12)
    result = generate(bounded, sales)
    assert not result.success
    assert result.solution is not None
    assert result.error is not None
    assert "max_seconds=12" in result.error


def test_a_missing_library_names_the_runtime_that_can_install_it(
    agent: AutoCoderAgent, endpoint: Endpoint, sales: Path
) -> None:
    lacking = CODE.replace("def main():", "def main():\n    import ctypes; ctypes.CDLL('libsurely_missing.so.1')")
    endpoint.say_to("plan", PLAN)
    endpoint.say_to("code", code(lacking, system_packages=["libsurely-missing1"]))
    endpoint.say_to("repair_code", code(lacking + "# again\n", system_packages=["libsurely-missing1"]))
    endpoint.say_to("tests", suite())
    boxed = AutoCoderAgent(model=agent.model, api_base=agent.api_base, sandbox="bubblewrap")
    result = generate(boxed, sales)
    assert not result.success
    assert result.attempts == 2
    assert result.error is not None
    assert "sandbox='docker'" in result.error
    assert "libsurely-missing1" in result.error


def test_an_endpoint_that_refuses_the_key_is_asked_once(agent: AutoCoderAgent, endpoint: Endpoint, sales: Path) -> None:
    endpoint.respond = lambda request: Reply(status=401, error="bad key")
    with pytest.raises(ModelRefusedError, match="api_key"):
        generate(agent, sales)
    assert len(endpoint.requests) == 1


def test_advice_is_told_once_and_then_is_a_warning(agent: AutoCoderAgent, endpoint: Endpoint, sales: Path) -> None:
    careless = CODE.replace('    if not rows:\n        sys.exit(f"{path}: no rows")\n', "").replace(
        'if "amount" not in rows[0]:', 'if rows and "amount" not in rows[0]:'
    )
    endpoint.say_to("plan", PLAN)
    endpoint.say_to("code", code(careless))
    endpoint.say_to("tests", suite())
    endpoint.say_to("repair_code", code(careless + "# it is fine as it is\n"))
    result = generate(agent, sales)
    assert result.success, result.error
    assert steps(endpoint).count("repair_code") == 1
    assert result.receipt.warnings


def test_without_tests_the_code_is_checked_and_built_and_not_run(
    agent: AutoCoderAgent, endpoint: Endpoint, sales: Path
) -> None:
    endpoint.say_to("plan", PLAN)
    endpoint.say_to("code", code())
    quick = AutoCoderAgent(model=agent.model, api_base=agent.api_base, skip_tests=True)
    result = generate(quick, sales)
    assert result.success, result.error
    assert result.tests is None
    assert steps(endpoint) == ["code", "plan"]
    assert "skip_tests" in result.summary()


def test_the_own_system_prompt_replaces_the_role_and_not_the_contract(
    agent: AutoCoderAgent, endpoint: Endpoint, sales: Path
) -> None:
    endpoint.say_to("plan", PLAN)
    endpoint.say_to("code", code())
    own = AutoCoderAgent(
        model=agent.model, api_base=agent.api_base, skip_tests=True, system_prompt="You are a careful accountant."
    )
    generate(own, sales)
    system = endpoint.requests[0].messages[0]["content"]
    assert system.startswith("You are a careful accountant.")
    assert "senior data engineer" not in system
    assert "--outputs" in system
    assert "Answer rules" in system
