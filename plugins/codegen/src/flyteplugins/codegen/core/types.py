"""The public data types, under the import path that programs use."""

from flyteplugins.codegen.core.result import CodeGenEvalResult
from flyteplugins.codegen.core.solution import CodePlan, CodeSolution
from flyteplugins.codegen.core.verdict import ErrorDiagnosis

__all__ = ["CodeGenEvalResult", "CodePlan", "CodeSolution", "ErrorDiagnosis"]
