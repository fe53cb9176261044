"""The same code generation under flytekit (Flyte 1): `from flyteplugins.codegen.flytekit import AutoCoderAgent`.

Settings, backends, checks and sandboxes are those of `flyteplugins.codegen`; this room converts types and makes tasks.

| | with flytekit |
| --- | --- |
| `generate()` | works in `@task` (sync and async), `@dynamic` and `@eager`, and takes `FlyteFile`, `StructuredDataset` and DataFrames as samples; the report is a `Deck` where decks are enabled |
| environment builds and test runs | part of the task that calls `generate()`. In an `@eager` workflow on a cluster, which alone can start tasks and wait for them, each run is a `ContainerTask` with `cache=True` and the hash of the job as its version; its environments are an `ImageSpec` with `image_strategy="build"` |
| `result.as_task()` | a `ContainerTask` with `cache=True` and a version made from code, contract, lock, limits and variables: in the sandbox on this machine, a raw container on a cluster. What such a one can't carry (tables, dicts, lists of files) goes through small tasks beside it |
| its environment | an `ImageSpec` of the locked packages, built when the task is packaged or registered and never for a local run; or a ready image that installs them |

Raises:
    ImportError: flytekit is not installed.
"""  # noqa: E501  # a row of a table is one line

from __future__ import annotations

try:
    import flytekit as _flytekit  # noqa: F401  # looked for, and used by the modules below
except ModuleNotFoundError as error:
    if error.name != "flytekit":
        raise  # it is there, and something that it needs is not
    raise ImportError(
        "flyteplugins.codegen.flytekit needs flytekit. Install it with: pip install 'flyteplugins-codegen[flytekit]'"
    ) from error

from flyteplugins.codegen import Budget, CodePlan, CodeSolution, ErrorDiagnosis
from flyteplugins.codegen.flytekit.agent import AutoCoderAgent
from flyteplugins.codegen.flytekit.result import CodeGenEvalResult
from flyteplugins.codegen.flytekit.task import SolutionTask

__all__ = [
    "AutoCoderAgent",
    "Budget",
    "CodeGenEvalResult",
    "CodePlan",
    "CodeSolution",
    "ErrorDiagnosis",
    "SolutionTask",
]
