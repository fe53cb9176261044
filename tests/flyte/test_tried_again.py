"""Which failures Flyte tries a task again for, on this machine; `test_in_pods.py` has the same for a cluster."""

from __future__ import annotations

from pathlib import Path

import flyte
import pytest
from flyte.errors import RuntimeUserError

from flyteplugins.codegen import AutoCoderAgent
from flyteplugins.codegen.core.errors import ModelUnavailableError

env = flyte.TaskEnvironment(name="tests-of-trying-again")


@env.task(retries=2)
async def asks_for_something_impossible(tries: str) -> None:
    with Path(tries).open("a") as stream:
        stream.write("x")
    await AutoCoderAgent(model="openai/m").generate.aio("Add up.", outputs={"not a name": int})


@env.task(retries=2)
async def has_no_endpoint(tries: str) -> None:
    with Path(tries).open("a") as stream:
        stream.write("x")
    raise ModelUnavailableError("No answer within the deadline.")


def test_a_mistake_of_the_users_ends_a_task_at_once(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUserError, match="not a name") as raised:
        flyte.with_runcontext(mode="local").run(asks_for_something_impossible, str(tmp_path / "tries"))
    assert raised.value.code == "InvalidRequestError"
    assert (tmp_path / "tries").read_text() == "x"


def test_what_may_pass_is_tried_again_as_often_as_the_task_says(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUserError, match="deadline"):
        flyte.with_runcontext(mode="local").run(has_no_endpoint, str(tmp_path / "tries"))
    assert (tmp_path / "tries").read_text() == "xxx"
