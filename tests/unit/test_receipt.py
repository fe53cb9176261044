from __future__ import annotations

from textwrap import dedent

from flyteplugins.codegen.core.environment import Lock
from flyteplugins.codegen.core.receipt import ConstraintBacking, Receipt
from flyteplugins.codegen.core.result import CodeGenEvalResult
from flyteplugins.codegen.core.verdict import Check, SuiteProof
from flyteplugins.codegen.report.receipt import summary
from flyteplugins.codegen.report.words import plain

LOCK = Lock(python="3.12", platform="x86_64-unknown-linux-gnu", requirements="pandas==2.3.3 --hash=sha256:00")


def passed() -> CodeGenEvalResult:
    return CodeGenEvalResult(
        success=True,
        attempts=2,
        exit_code=0,
        detected_packages=["numpy", "pandas"],
        lock=LOCK,
        receipt=Receipt(
            isolation="Sandbox: bubblewrap (own namespaces, no network).",
            checks=[
                Check(name="runs on the samples", passed=True),
                Check(name="report exists and is a file", passed=True),
                Check(name="a header-only file is refused", passed=False, advisory=True),
            ],
            constraints=[
                ConstraintBacking(
                    constraint="Temperature values must be between -40 and 60 Celsius",
                    checks=["readings.temperature: in_range(-40, 60)"],
                    tests=["test_out_of_range_is_an_anomaly"],
                ),
                ConstraintBacking(constraint="The report is friendly"),
            ],
            tests=7,
            proof=SuiteProof(
                stubs=2, stubs_failed=2, mutants=8, mutants_failed=7, proved=tuple(f"test_{n}" for n in range(6))
            ),
            lock=LOCK.key,
            calls=5,
            input_tokens=12345,
            output_tokens=678,
            cost=0.0312,
            seconds=41.26,
            not_checked=["Nothing stands behind the constraint: The report is friendly"],
            warnings=["a header-only file is refused: exit status 0"],
        ),
    )


def test_the_receipt_of_a_success_says_what_was_checked_with_what_and_what_was_not() -> None:
    assert summary(passed()) == dedent(
        f"""\
        Done in 2 attempts.
        Isolation         bubblewrap (own namespaces, no network).
        Environment       Python 3.12, numpy, pandas (lock {LOCK.key[:12]})
        Contract checks   2 of 2, probes 0 of 1
        Constraints       Temperature values must be between -40 and 60 Celsius <- data check
                            readings.temperature: in_range(-40, 60); test test_out_of_range_is_an_anomaly
                          The report is friendly <- NOTHING stands behind it
        Tests             7, 6 of them proved able to fail
                          they refused 2 of 2 stubs and 7 of 8 mutants of the code
        Model             5 calls, 12,345 tokens in, 678 out, $0.0312
        Time              41.3 s
        Not checked       Nothing stands behind the constraint: The report is friendly
        Warnings          a header-only file is refused: exit status 0"""
    )


def test_the_receipt_of_a_failure_begins_with_the_error_and_names_the_check_that_did_not_hold() -> None:
    result = passed().model_copy(
        update={
            "success": False,
            "attempts": 1,
            "exit_code": 1,
            "error": "No attempt passed.\nKeyError: 'amount'",
            "receipt": Receipt(
                isolation="docker: no network",
                checks=[Check(name="runs on the samples", passed=False, detail="KeyError: 'amount'")],
                cost=None,
                calls=1,
            ),
        }
    )
    assert summary(result) == dedent(
        """\
        Failed after 1 attempt.
          No attempt passed.
          KeyError: 'amount'

        Isolation         docker: no network
        Environment       none was built
        Contract checks   0 of 1
                          not met: runs on the samples: KeyError: 'amount'
        Constraints       none were given
        Tests             none ran
        Model             1 call, 0 tokens in, 0 out, cost not known
        Time              0.0 s
        Not checked       -
        Warnings          -"""
    )


def test_tests_that_never_ran_are_told_as_written() -> None:
    text = summary(CodeGenEvalResult(success=False, error="no code", receipt=Receipt(tests=3)))
    assert "Tests             3 written, none ran" in text.splitlines()


def test_a_long_error_keeps_its_beginning_and_its_end() -> None:
    error = "\n".join(["The tests failed.", *(f"line {number}" for number in range(500)), "AssertionError: 3 != 4"])
    text = CodeGenEvalResult(success=False, error=error, receipt=Receipt()).summary()
    assert "The tests failed." in text
    assert "AssertionError: 3 != 4" in text
    assert "490 lines left out" in text
    assert len(text.splitlines()) < 30


def test_escape_sequences_in_what_a_program_wrote_do_not_reach_the_terminal() -> None:
    error = "\x1b]0;title\x07\x1b[31mred\x1b[0m \x9b2J back\b \u202eesrever"
    assert plain(error) == "red 2J back esrever"
    text = CodeGenEvalResult(success=False, error=error).summary()
    assert not any(character in text for character in "\x1b\x07\x08\x9b\u202e")


def test_scripts_that_need_joiners_keep_them() -> None:
    assert plain("می‌خواهم\ttab\nline") == "می‌خواهم\ttab\nline"
