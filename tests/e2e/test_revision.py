"""Follow-up requests and a person's versions: the model is a script over HTTP, sandbox and tests are real."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from endpoint import Endpoint
from flyte.io import File
from handmade import PLAN, coded
from handmade import TOTAL_AND_COUNT as CODE

from flyteplugins.codegen import AutoCoderAgent, CodeGenEvalResult
from flyteplugins.codegen.core.errors import InvalidRequestError, MissingCredentialError
from flyteplugins.codegen.core.result import Origin

pytestmark = pytest.mark.isolation

FOLLOW_UP = "Leave negative amounts out of the total."

CHANGED = CODE.replace("sum(amounts)", "sum(amount for amount in amounts if amount >= 0)")

TOTAL = """def test_total_adds_the_amounts(run_solution, tmp_path):
    run = run_solution(sales=write(tmp_path / "sales.csv", 1.5, 2.0, -4.25))
    assert run.exit_code == 0
    assert run.outputs["total"] == -0.75
"""
COUNT = """def test_count_counts_the_rows(run_solution, tmp_path):
    assert run_solution(sales=write(tmp_path / "sales.csv", 5, 5, 7)).outputs["count"] == 3
"""
SAMPLE = """# The sample, by hand.
def test_sample(run_solution):
    assert run_solution().outputs == {"total": 12.0,   "count": 3}
"""
HELPER = """def write(path, *amounts):
    path.write_text("day,amount\\n" + "".join(f"d{i},{amount}\\n" for i, amount in enumerate(amounts)))
    return path
"""
TESTS = f"{HELPER}\n\n{TOTAL}\n\n{COUNT}\n\n{SAMPLE}"
NEW_TEST = """import math


def test_negative_amounts_are_left_out_and_counted(run_solution, tmp_path):
    outputs = run_solution(sales=write(tmp_path / "sales.csv", 1.5, 2.0, -4.25)).outputs
    assert math.isclose(outputs["total"], 3.5)
    assert outputs["count"] == 3
"""
NEW_PLAN = {
    "description": "Add up the amounts that are not negative.",
    "approach": "Read the CSV, skip no row, sum `amount` where it is not negative; count all rows.",
    "packages": [],
    "unmet": "",
}
DROPPED = {
    "name": "test_total_adds_the_amounts",
    "quote": "Leave negative amounts out",
    "reason": "It expects -4.25 in the total.",
}
REVISED_TESTS = {"dropped": [DROPPED], "code": NEW_TEST, "packages": [], "coverage": []}


def diagnosis(error_type: str, **more: Any) -> dict[str, Any]:
    verdict = {"error_type": error_type, "reason": "The follow-up decides.", "request_quote": "negative amounts out"}
    return {**verdict, "instructions": "Mend it.", "packages": [], "system_packages": [], "tests": [], **more}


@pytest.fixture(scope="module")
def first_endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        yield server


@pytest.fixture(scope="module")
def generated(first_endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> CodeGenEvalResult:
    """A generation that passed, once for all tests here."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "sales.csv").write_text("day,amount\nmon,3.5\ntue,4.5\nwed,4\n")
    first_endpoint.say_to("plan", PLAN)
    first_endpoint.say_to("code", coded(CODE))
    first_endpoint.say_to("tests", {"code": TESTS, "packages": [], "coverage": []})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MY_MODEL_KEY", "a key of the tests")
        result = AutoCoderAgent(
            model="openai/scripted",
            api_base=first_endpoint.url,
            api_key="MY_MODEL_KEY",
            litellm_params={"temperature": 0.25, "extra_headers": {"authorization": "Basic c2VjcmV0"}},
            name="revision",
            max_iterations=4,
        ).generate(
            prompt="Add up the amounts and count the rows.",
            samples={"sales": File(path=str(folder / "sales.csv"))},
            outputs={"total": float, "count": int},
        )
    assert result.success, result.error
    return result


@pytest.fixture
def agent(endpoint: Endpoint) -> AutoCoderAgent:
    return AutoCoderAgent(model="openai/scripted", api_base=endpoint.url, name="revision", max_iterations=4)


def say(endpoint: Endpoint, *, code: str = CHANGED, tests: dict[str, Any] | None = None) -> None:
    """Script the answers of one revision."""
    endpoint.say_to("revise_plan", NEW_PLAN)
    endpoint.say_to("revise_code", coded(code))
    endpoint.say_to("revise_tests", tests or REVISED_TESTS)


def steps(endpoint: Endpoint) -> list[str]:
    return [request.step or "" for request in endpoint.requests]


def sent(endpoint: Endpoint, step: str) -> str:
    return next("\n".join(m["content"] for m in asked.messages) for asked in endpoint.requests if asked.step == step)


def test_a_follow_up_changes_the_code_and_says_which_tests_are_kept_dropped_and_added(
    generated: CodeGenEvalResult, agent: AutoCoderAgent, endpoint: Endpoint, tmp_path: Path
) -> None:
    say(endpoint)
    revised = generated.revise(FOLLOW_UP, agent=agent)
    assert revised.success, revised.error
    (revision,) = revised.revisions
    assert (revision.prompt, revision.by) == (FOLLOW_UP, "model")
    assert revision.kept == ["test_count_counts_the_rows", "test_sample"]
    assert [dropped.name for dropped in revision.dropped] == ["test_total_adds_the_amounts"]
    assert "It expects -4.25 in the total." in revision.dropped[0].reason
    assert "Leave negative amounts out" in revision.dropped[0].reason
    assert revision.added == ["test_negative_amounts_are_left_out_and_counted"]
    assert (revision.code_before, revision.tests_before) == (CODE.strip() + "\n", generated.tests)
    assert revised.plan
    assert revised.plan.description == NEW_PLAN["description"]
    other = tmp_path / "other.csv"
    other.write_text("day,amount\nmon,-1\ntue,2\n")
    assert revised.run(sales=other) == (2.0, 2)
    assert generated.run(sales=other) == (1.0, 2)
    assert generated.revisions == []


def test_the_tests_that_are_kept_keep_every_byte(
    generated: CodeGenEvalResult, agent: AutoCoderAgent, endpoint: Endpoint
) -> None:
    say(endpoint)
    tests = generated.revise(FOLLOW_UP, agent=agent).tests or ""
    for kept in (HELPER, COUNT, SAMPLE):
        assert kept in tests
    assert TOTAL not in tests
    assert tests.startswith("import math\n")


def test_the_plan_comes_first_and_the_tests_are_asked_for_without_the_new_code(
    generated: CodeGenEvalResult, agent: AutoCoderAgent, endpoint: Endpoint
) -> None:
    say(endpoint)
    generated.revise(FOLLOW_UP, agent=agent)
    assert steps(endpoint)[0] == "revise_plan"
    assert sorted(steps(endpoint)) == ["revise_code", "revise_plan", "revise_tests"]
    assert "sum(amounts)" in sent(endpoint, "revise_plan")
    assert "sum(amounts)" in sent(endpoint, "revise_code")
    assert "ArgumentParser" not in sent(endpoint, "revise_tests")
    for step in ("revise_plan", "revise_code", "revise_tests"):
        assert FOLLOW_UP in sent(endpoint, step)
        assert "Add up the amounts and count the rows." in sent(endpoint, step)


def test_what_all_prompts_share_is_what_the_generation_sent_with_the_follow_up_behind_it(
    generated: CodeGenEvalResult, agent: AutoCoderAgent, endpoint: Endpoint, first_endpoint: Endpoint
) -> None:
    say(endpoint)
    generated.revise(FOLLOW_UP, agent=agent)
    planned, again = sent(first_endpoint, "plan"), sent(endpoint, "revise_plan")
    shared = planned[: planned.index("# Your step")].rstrip()
    assert again.startswith(shared)
    assert again[len(shared) :].lstrip().startswith("# Follow-up requests")


def test_a_revision_of_a_revision_has_both_follow_ups_in_order(
    generated: CodeGenEvalResult, agent: AutoCoderAgent, endpoint: Endpoint
) -> None:
    say(endpoint)
    once = generated.revise(FOLLOW_UP, agent=agent)
    second = "Negative amounts count in the total again."
    undone = {"name": once.revisions[0].added[0], "quote": "count in the total again", "reason": "It expects 3.5."}
    say(endpoint, code=CODE, tests={"dropped": [undone], "code": TOTAL, "packages": [], "coverage": []})
    twice = once.revise(second, agent=agent)
    assert twice.success, twice.error
    assert [revision.prompt for revision in twice.revisions] == [FOLLOW_UP, second]
    assert twice.revisions[1].added == ["test_total_adds_the_amounts"]
    asked = "\n".join(message["content"] for message in endpoint.requests[-1].messages)
    assert f"1. {FOLLOW_UP}\n2. {second}" in asked
    assert twice.origin.prompt == "Add up the amounts and count the rows."
    calls = [item["call"] for item in twice.conversation_history if item["role"] == "assistant"]
    assert sorted(calls) == list(range(1, 10))


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ({"dropped": [{**DROPPED, "quote": "negative numbers"}]}, "word for word"),
        ({"dropped": [{**DROPPED, "name": "test_of_my_own"}]}, "test_of_my_own is no test of the module"),
        ({"code": "def write(path, *amounts): return path\n\n" + NEW_TEST}, "write"),
        ({"code": "import os\nos.environ['A'] = 'b'\n\n" + NEW_TEST}, "runs when the module is loaded"),
        ({"code": "def sorted(rows): return rows\n\n" + NEW_TEST, "dropped": []}, ""),
    ],
    ids=["quote", "unknown-test", "helper-taken", "runs-at-load", "harmless"],
)
def test_an_answer_that_could_change_the_tests_that_stay_is_asked_for_again(
    generated: CodeGenEvalResult, agent: AutoCoderAgent, endpoint: Endpoint, answer: dict[str, Any], complaint: str
) -> None:
    say(endpoint, tests={**REVISED_TESTS, **answer})
    endpoint.say_to("revise_tests", REVISED_TESTS)
    revised = generated.revise(FOLLOW_UP, agent=agent)
    asked = [request for request in endpoint.requests if request.step == "revise_tests"]
    if complaint:
        assert revised.success, revised.error
        assert len(asked) == 2
        assert complaint in asked[1].messages[-1]["content"]
    else:
        assert len(asked) == 1


def test_code_that_does_not_meet_the_follow_up_is_repaired(
    generated: CodeGenEvalResult, agent: AutoCoderAgent, endpoint: Endpoint
) -> None:
    say(endpoint, code=CODE)
    endpoint.say_to("diagnosis", diagnosis("logic"))
    endpoint.say_to("repair_code", coded(CHANGED))
    revised = generated.revise(FOLLOW_UP, agent=agent)
    assert revised.success, revised.error
    assert revised.attempts == 2
    assert revised.revisions[0].kept == ["test_count_counts_the_rows", "test_sample"]


def test_a_test_that_turns_out_not_to_hold_is_told_with_the_diagnosis(
    generated: CodeGenEvalResult, agent: AutoCoderAgent, endpoint: Endpoint
) -> None:
    say(endpoint, tests={**REVISED_TESTS, "dropped": []})
    endpoint.say_to("diagnosis", diagnosis("test_error", tests=["test_total_adds_the_amounts"]))
    mended = {"name": "test_total_adds_the_amounts", "code": TOTAL.replace("== -0.75", "== 3.5")}
    endpoint.say_to("repair_tests", {"tests": [mended], "imports": []})
    revised = generated.revise(FOLLOW_UP, agent=agent)
    assert revised.success, revised.error
    (revision,) = revised.revisions
    assert [(dropped.name, dropped.reason) for dropped in revision.dropped] == [
        ("test_total_adds_the_amounts", "The follow-up decides.")
    ]
    assert revision.added == ["test_total_adds_the_amounts", "test_negative_amounts_are_left_out_and_counted"]


def test_a_follow_up_that_needs_another_contract_ends_with_what_to_do_and_the_code_as_it_was(
    generated: CodeGenEvalResult, agent: AutoCoderAgent, endpoint: Endpoint
) -> None:
    endpoint.say_to("revise_plan", {**NEW_PLAN, "unmet": "An output `report` of type File."})
    revised = generated.revise("Write a report as well.", agent=agent)
    assert not revised.success
    assert "An output `report` of type File." in (revised.error or "")
    assert (revised.error or "").endswith("generate anew with the ones that it needs. Code and tests are as they were.")
    assert revised.lock == generated.lock
    assert steps(endpoint) == ["revise_plan"]
    assert revised.solution == generated.solution
    assert revised.tests == generated.tests
    say(endpoint)
    generated.revise("Write a report as well.", agent=agent)
    assert steps(endpoint)[:2] == ["revise_plan", "revise_plan"]


def test_a_follow_up_without_a_test_of_its_own_is_told(
    generated: CodeGenEvalResult, agent: AutoCoderAgent, endpoint: Endpoint
) -> None:
    say(endpoint, code=CODE, tests={"dropped": [], "code": "", "packages": [], "coverage": []})
    revised = generated.revise("Keep it short.", agent=agent)
    assert revised.success, revised.error
    assert any("Keep it short." in line for line in revised.receipt.not_checked)
    assert revised.tests == generated.tests


def test_tests_that_the_code_of_before_passes_too_are_told(
    generated: CodeGenEvalResult, agent: AutoCoderAgent, endpoint: Endpoint
) -> None:
    gone = [
        {"name": name, "quote": "Count every row twice", "reason": "It counts each once."}
        for name in ("test_count_counts_the_rows", "test_sample")
    ]
    idle = "def test_sample_is_counted(run_solution):\n    assert run_solution().outputs['count'] in (3, 6)\n"
    twice = CODE.replace("len(rows)", "len(rows) * 2")
    say(endpoint, code=twice, tests={"dropped": gone, "code": idle, "packages": [], "coverage": []})
    revised = generated.revise("Count every row twice.", agent=agent)
    assert revised.success, revised.error
    assert any("code of before" in line and "twice" in line for line in revised.receipt.not_checked)
    assert revised.run() == (12.0, 6)


def test_tests_that_refuse_the_code_of_before_are_proved_on_it(
    generated: CodeGenEvalResult, agent: AutoCoderAgent, endpoint: Endpoint
) -> None:
    say(endpoint)
    revised = generated.revise(FOLLOW_UP, agent=agent)
    assert revised.receipt.proof
    assert revised.receipt.proof.survivors == ()
    assert revised.receipt.not_checked == []
    assert "test_negative_amounts_are_left_out_and_counted" in revised.receipt.proof.proved


def test_the_settings_are_those_of_the_generation_but_for_what_is_secret(
    generated: CodeGenEvalResult, first_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = json.dumps(generated.model_dump(mode="json"))
    assert "a key of the tests" not in document
    assert "c2VjcmV0" not in document
    with pytest.raises(MissingCredentialError, match="MY_MODEL_KEY"):
        generated.revise(FOLLOW_UP)
    monkeypatch.setenv("MY_MODEL_KEY", "another key")
    say(first_endpoint)
    revised = generated.revise(FOLLOW_UP)
    assert revised.success, revised.error
    asked = first_endpoint.requests[-1]
    assert asked.key == "another key"
    assert asked.body["temperature"] == 0.25
    assert revised.defaults == generated.defaults
    assert revised.origin == generated.origin
    assert "extra_headers" in revised.origin.agent["withheld"]
    assert any("asked without extra_headers" in warning for warning in revised.receipt.warnings)


def test_a_saved_generation_is_revised_where_it_was_moved_to(
    generated: CodeGenEvalResult, agent: AutoCoderAgent, endpoint: Endpoint, tmp_path: Path
) -> None:
    generated.save(tmp_path / "saved").rename(tmp_path / "elsewhere")
    say(endpoint)
    revised = CodeGenEvalResult.load(tmp_path / "elsewhere").revise(FOLLOW_UP, agent=agent)
    assert revised.success, revised.error
    assert "3.5" in sent(endpoint, "revise_plan")  # a value of the sample
    read = CodeGenEvalResult.load(revised.save(tmp_path / "revised"))
    assert read.revisions == revised.revisions
    assert read.origin == revised.origin


def test_code_that_was_edited_in_the_folder_is_what_a_follow_up_starts_from(
    generated: CodeGenEvalResult, agent: AutoCoderAgent, endpoint: Endpoint, tmp_path: Path
) -> None:
    source = generated.save(tmp_path / "saved") / "solution.py"
    source.write_text(source.read_text().replace("no rows", "not a single row"))
    say(endpoint, code=CHANGED.replace("no rows", "not a single row"))
    revised = CodeGenEvalResult.load(tmp_path / "saved").revise(FOLLOW_UP, agent=agent)
    assert revised.success, revised.error
    assert "not a single row" in sent(endpoint, "revise_code")
    assert "not a single row" in revised.revisions[0].code_before
    assert not any("edited" in warning for warning in revised.receipt.warnings)


def test_a_result_that_does_not_say_where_it_came_from_needs_an_agent(
    generated: CodeGenEvalResult, agent: AutoCoderAgent
) -> None:
    old = generated.model_copy(update={"origin": Origin()})
    with pytest.raises(InvalidRequestError, match="agent=AutoCoderAgent"):
        old.revise(FOLLOW_UP)
    assert old.revise(code=CODE, agent=agent).success


def test_a_persons_version_is_checked_as_the_models_was_and_asks_no_model(
    generated: CodeGenEvalResult, first_endpoint: Endpoint, tmp_path: Path
) -> None:
    before = len(first_endpoint.requests)
    mine = CODE.replace("no rows", "not a single row")
    revised = generated.revise(code=mine)
    assert revised.success, revised.error
    assert len(first_endpoint.requests) == before
    assert revised.solution
    assert revised.solution.code == mine
    assert revised.receipt.proof is not None
    assert [check.name for check in revised.receipt.checks] == [check.name for check in generated.receipt.checks]
    (revision,) = revised.revisions
    assert (revision.prompt, revision.by, revision.dropped, revision.added) == (None, "person", [], [])
    assert len(revision.kept) == 3
    assert revised.origin == generated.origin
    assert (revised.usage.total.calls, revised.receipt.calls) == (0, 0)
    assert revised.run() == (12.0, 3)


@pytest.mark.parametrize(
    ("mine", "why"),
    [
        (CODE.replace("sum(amounts)", "max(amounts)"), "test_total_adds_the_amounts"),
        (CODE.replace('"--sales"', '"--file"'), "`--sales` is missing"),
        (CODE.replace("sum(amounts)", "sum(amounts"), "does not parse"),
        (CODE.replace('(folder / "count")', '(folder / "total")').replace("str(amount)", "'count'"), "`count`"),
        (CODE.replace("return sum", "import flask\n    return sum"), ""),
    ],
    ids=["breaks-a-test", "breaks-the-contract", "syntax-error", "lacks-an-output", "needs-a-package"],
)
def test_a_persons_version_that_does_not_pass_is_in_the_result_with_the_verdict(
    generated: CodeGenEvalResult, mine: str, why: str
) -> None:
    revised = generated.revise(code=mine)
    assert revised.success is (not why)
    assert why in (revised.error or "")
    assert revised.solution
    assert revised.solution.code == mine
    assert revised.revisions[0].by == "person"
    if not why:
        assert revised.detected_packages == ["flask"]


def test_tests_of_a_person_that_can_not_fail_are_not_enough(generated: CodeGenEvalResult) -> None:
    weak = "def test_runs(run_solution):\n    assert run_solution().exit_code == 0\n"
    revised = generated.revise(tests=weak)
    assert not revised.success
    assert revised.tests == weak
    assert revised.receipt.proof is not None
    assert not revised.receipt.proof.convincing
    (revision,) = revised.revisions
    assert revision.added == ["test_runs"]
    assert len(revision.dropped) == 3


@pytest.mark.parametrize("tests", ["def test_it(run_solution:\n", "", "import nothing_of_that_name\n\n" + COUNT])
def test_tests_of_a_person_that_do_not_load_are_a_verdict(generated: CodeGenEvalResult, tests: str) -> None:
    revised = generated.revise(tests=tests)
    assert not revised.success
    assert revised.error
    assert revised.tests == tests
    assert revised.solution == generated.solution


def test_code_and_tests_of_a_person_are_checked_together(generated: CodeGenEvalResult) -> None:
    tests = TESTS.replace("== -0.75", "== 3.5")
    revised = generated.revise(code=CHANGED, tests=tests)
    assert revised.success, revised.error
    assert revised.tests == tests
    (revision,) = revised.revisions
    assert [dropped.name for dropped in revision.dropped] == revision.added == ["test_total_adds_the_amounts"]


def test_a_result_without_code_and_an_empty_follow_up_are_refused(
    generated: CodeGenEvalResult, agent: AutoCoderAgent
) -> None:
    with pytest.raises(InvalidRequestError, match="has no code"):
        generated.model_copy(update={"solution": None}).revise(FOLLOW_UP, agent=agent)
    with pytest.raises(InvalidRequestError, match="empty"):
        generated.revise("  ", agent=agent)
    with pytest.raises(InvalidRequestError, match="one of the two"):
        generated.revise(FOLLOW_UP, code=CODE)


def test_the_same_revision_again_asks_builds_and_runs_nothing(
    generated: CodeGenEvalResult, agent: AutoCoderAgent, endpoint: Endpoint
) -> None:
    say(endpoint)
    once = generated.revise(FOLLOW_UP, agent=agent)
    again = generated.revise(FOLLOW_UP, agent=agent)
    assert len(endpoint.requests) == 3
    assert (again.solution, again.tests, again.revisions) == (once.solution, once.tests, once.revisions)
    assert again.usage.total.calls == once.usage.total.calls == 3


async def test_a_revision_can_be_awaited(
    generated: CodeGenEvalResult, agent: AutoCoderAgent, endpoint: Endpoint
) -> None:
    say(endpoint)
    revised = await generated.revise.aio(FOLLOW_UP, agent=agent)
    assert revised.success, revised.error


def test_a_file_that_the_user_gave_as_an_example_goes_along(
    agent: AutoCoderAgent, endpoint: Endpoint, tmp_path: Path
) -> None:
    (tmp_path / "names.lst").write_text("ada\ngrace\n")
    code = (
        CODE.replace("--sales", "--names")
        .replace("total(args.sales)", "(0.0, sum('ada' in line or 1 / 0 for line in open(args.names)))")
        .replace("'ada' in line or 1 / 0", "line != '' if 'a' in line else 1 / 0")
    )
    tests = """
def test_lines_are_counted(run_solution, tmp_path):
    path = tmp_path / "names.lst"
    path.write_text("anna\\nada\\nida\\n")
    assert run_solution(names=path).outputs == {"total": 0.0, "count": 3}


def test_a_line_without_an_a_is_refused(run_solution, tmp_path):
    path = tmp_path / "names.lst"
    path.write_text("bob\\n")
    assert run_solution(names=path).exit_code != 0
"""
    endpoint.say_to("plan", PLAN)
    endpoint.say_to("code", {**coded(code), "examples": [{"name": "names", "value": "bob"}]})
    endpoint.say_to("tests", {"code": tests, "packages": [], "coverage": []})
    result = agent.generate(
        prompt="Count the lines.",
        inputs={"names": File},
        outputs={"total": float, "count": int},
        input_examples={"names": File(path=str(tmp_path / "names.lst"))},
    )
    assert result.success, result.error
    result.save(tmp_path / "saved").rename(tmp_path / "elsewhere")
    (tmp_path / "names.lst").unlink()
    read = CodeGenEvalResult.load(tmp_path / "elsewhere")
    assert Path(read.origin.example_files["names"].path).is_relative_to(tmp_path / "elsewhere")
    revised = read.revise(code=code.replace("no rows", "not a single row"))
    # The model's own example, "bob", would be refused.
    assert revised.success, revised.error


def test_a_budget_that_ends_before_the_first_check_leaves_everything_as_it_was(
    generated: CodeGenEvalResult, endpoint: Endpoint
) -> None:
    say(endpoint)
    agent = AutoCoderAgent(model="openai/scripted", api_base=endpoint.url, name="revision", max_calls=1)
    revised = generated.revise(FOLLOW_UP, agent=agent)
    assert not revised.success
    assert "calls" in (revised.error or "")
    assert (revised.solution, revised.tests, revised.lock) == (generated.solution, generated.tests, generated.lock)
    assert revised.plan == generated.plan
    assert revised.revisions[0].kept == ["test_total_adds_the_amounts", "test_count_counts_the_rows", "test_sample"]
