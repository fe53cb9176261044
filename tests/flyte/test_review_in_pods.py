"""A person approves in a run on a cluster: Flyte's own controller in a pod registers the conditions and waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, cluster_of, run_pod
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from endpoint import Endpoint
from flyteidl2.actions import actions_service_pb2
from flyteidl2.actions.actions_service_connect import ActionsServiceSync, ActionsServiceWSGIApplication
from flyteidl2.common import phase_pb2
from flyteidl2.core import literals_pb2
from flyteidl2.workflow import queue_service_pb2, run_definition_pb2, state_service_pb2
from handmade import STRICT_TOTAL, add_up

pytestmark = pytest.mark.isolation

MINE = STRICT_TOTAL.replace("import argparse", "import argparse  # mine")
PROGRAM = """
import json
import os
import signal

import flyte
import pandas as pd
from flyteplugins.codegen import AutoCoderAgent
from flyteplugins.codegen.core.events import ReviewAnswered

env = flyte.TaskEnvironment("pod")


def told(event):
    if isinstance(event, ReviewAnswered) and event.kind == os.environ.get("DIES_AFTER"):
        os.kill(os.getpid(), signal.SIGKILL)


@env.task
async def generates() -> str:
    agent = AutoCoderAgent(
        name="total",
        model="openai/gpt-4.1",
        api_base=os.environ["ENDPOINT"],
        review=["plan", "code"],
        review_timeout=3600,
        on_event=told,
    )
    result = await agent.generate.aio(
        prompt="Add up the amounts and count the rows.",
        samples={"sales": pd.DataFrame({"amount": [1, 2.5]})},
        outputs={"total": float, "rows": int},
    )
    reviews = [review.model_dump(include={"kind", "verdict", "channel", "timed_out"}) for review in result.reviews]
    return json.dumps({"error": result.error, "code": result.solution and result.solution.code, "reviews": reviews})
"""


class Signalled(Cluster, ActionsServiceSync):
    """A cluster on which somebody signals each condition at once, or whose time for it is up.

    It has the service for all kinds of actions: the older one for tasks and traces knows no conditions.

    Attributes:
        conditions: What was registered, in order.
        replies: What is signalled, in order; None lets the time pass.
    """

    def __init__(self, bucket: str) -> None:
        super().__init__(bucket)
        self.conditions: list[run_definition_pb2.ConditionAction] = []
        self.replies: list[str | None] = []
        self._applications["/flyteidl2.actions.ActionsService"] = ActionsServiceWSGIApplication(self)

    def enqueue(self, request: actions_service_pb2.EnqueueRequest, ctx: Any) -> Any:
        """Signal a condition; what else is asked for goes the way that it goes in the older service."""
        action = request.action
        parent = f"{action.action_id.run.name}.{action.parent_action_name}"
        if not action.HasField("condition"):
            self.enqueue_action(_same(action), ctx)
            return actions_service_pb2.EnqueueResponse()
        with self._lock:
            if action.action_id.name in self._states.get(parent, {}):
                raise ConnectError(Code.ALREADY_EXISTS, "there is such an action")
        self.conditions.append(action.condition)
        reply = self.replies.pop(0)
        update = state_service_pb2.ActionUpdate(action_id=action.action_id, phase=phase_pb2.ACTION_PHASE_TIMED_OUT)
        if reply is not None:
            text = literals_pb2.Scalar(primitive=literals_pb2.Primitive(string_value=reply))
            update.phase = phase_pb2.ACTION_PHASE_SUCCEEDED
            update.value.CopyFrom(literals_pb2.Literal(scalar=text))
        with self._lock:
            self._states.setdefault(parent, {})[action.action_id.name] = update
            for news in self._watchers.get(parent, []):
                news.put(update)
        return actions_service_pb2.EnqueueResponse()

    def watch_for_updates(self, request: actions_service_pb2.WatchForUpdatesRequest, ctx: Any) -> Iterator[Any]:
        """As `watch` in the older service."""
        for news in self.watch(state_service_pb2.WatchRequest(parent_action_id=request.parent_action_id), ctx):
            yield actions_service_pb2.WatchForUpdatesResponse.FromString(news.SerializeToString())


def _same(action: actions_service_pb2.Action) -> queue_service_pb2.EnqueueActionRequest:
    """A task or a trace as the older service is asked for it."""
    return queue_service_pb2.EnqueueActionRequest(
        action_id=action.action_id,
        parent_action_name=action.parent_action_name,
        input_uri=action.input_uri,
        run_output_base=action.run_output_base,
        group=action.group,
        task=action.task if action.HasField("task") else None,
        trace=action.trace if action.HasField("trace") else None,
    )


@pytest.fixture
def cluster() -> Iterator[Signalled]:
    with cluster_of("approving", Signalled) as cluster:
        yield cluster


@pytest.fixture
def program(tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Path:
    endpoint.respond = add_up
    monkeypatch.setenv("ENDPOINT", endpoint.url)
    monkeypatch.setenv("_U_USE_ACTIONS", "1")  # as the backend says in each pod that it has the service
    path = tmp_path / "program" / "approving.py"
    path.parent.mkdir()
    path.write_text(PROGRAM)
    return path


def test_what_is_to_be_approved_is_shown_as_markdown_and_a_signal_decides(
    cluster: Signalled, program: Path, tmp_path: Path
) -> None:
    cluster.replies = ["approve", f"edit\n```python\n{MINE}\n```"]
    pod = run_pod(cluster, program, "generates", tmp_path / "one")
    assert pod.output["error"] is None, pod.log
    assert "# mine" in pod.output["code"]
    assert [(review["verdict"], review["channel"]) for review in pod.output["reviews"]] == [
        ("approved", "flyte"),
        ("edited", "flyte"),
    ]
    plan, code = cluster.conditions
    assert code.prompt_type == run_definition_pb2.CONDITION_PROMPT_TYPE_MARKDOWN
    assert "```python\nimport argparse" in code.prompt
    assert "Reply with one of" in code.prompt
    assert plan.description == "Approve the plan"
    assert plan.timeout.seconds == 3600
    assert plan.name != code.name


def test_a_retried_pod_finds_the_decisions_of_the_one_before(
    cluster: Signalled, program: Path, endpoint: Endpoint, tmp_path: Path
) -> None:
    cluster.replies = ["approve", "approve"]
    killed = run_pod(cluster, program, "generates", tmp_path / "one", {"DIES_AFTER": "code"})
    assert killed.exit_code == -9, killed.log
    retried = run_pod(cluster, program, "generates", tmp_path / "two")
    assert retried.output["error"] is None, retried.log
    assert len(cluster.conditions) == 2
    assert sorted(request.step or "" for request in endpoint.requests) == ["code", "plan", "tests"]


def test_a_condition_whose_time_is_up_ends_the_generation(cluster: Signalled, program: Path, tmp_path: Path) -> None:
    cluster.replies = [None]
    pod = run_pod(cluster, program, "generates", tmp_path / "one")
    assert "Nobody answered within 3600 s" in pod.output["error"], pod.log
    assert pod.output["reviews"][0]["timed_out"]


def test_where_the_backend_has_no_conditions_it_is_said_before_anything_is_paid_for(
    cluster: Signalled, program: Path, endpoint: Endpoint, tmp_path: Path
) -> None:
    pod = run_pod(cluster, program, "generates", tmp_path / "one", {"_U_USE_ACTIONS": "0"})
    assert "the backend of this cluster has no conditions" in pod.error, pod.log
    assert endpoint.requests == []
