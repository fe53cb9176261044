"""From a request in plain language and sample data to tested Python that runs as a Flyte task."""

from flyteplugins.codegen.auto_coder_agent import AutoCoderAgent
from flyteplugins.codegen.core.budget import Budget
from flyteplugins.codegen.core.result import ResultVerbs
from flyteplugins.codegen.core.review import ReviewDecision, ReviewRequest
from flyteplugins.codegen.core.types import CodeGenEvalResult, CodePlan, CodeSolution, ErrorDiagnosis

__all__ = [
    "AutoCoderAgent",
    "Budget",
    "CodeGenEvalResult",
    "CodePlan",
    "CodeSolution",
    "ErrorDiagnosis",
    "ReviewDecision",
    "ReviewRequest",
]


def _verbs() -> ResultVerbs:
    # Loaded on first use: running code needs rooms that importing the package should not cost.
    from flyteplugins.codegen.verbs import Verbs

    return Verbs()


CodeGenEvalResult.verbs = _verbs
