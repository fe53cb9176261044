"""Answers on record, budgets that hold across an interruption, and the transcript: over real HTTP, on real folders."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from endpoint import Endpoint, Received, Reply
from pydantic import BaseModel

from flyteplugins.codegen.core.budget import Budget
from flyteplugins.codegen.core.errors import BudgetExceededError, CodegenError, InvalidAnswerError
from flyteplugins.codegen.core.events import Event, ModelAnswered
from flyteplugins.codegen.core.settings import Settings
from flyteplugins.codegen.models import Account, Answers, Message, Model, Step, Transcript, provider_for
from flyteplugins.codegen.models.answers import KIND
from flyteplugins.codegen.record import LocalShelf, Record

pytestmark = pytest.mark.slow

SECRET = "loopback-secret-0123456789"  # noqa: S105 # opens nothing
HELLO: list[Message] = [{"role": "system", "content": "You plan."}, {"role": "user", "content": "Sum the column."}]


class Plan(BaseModel):
    description: str


class Report(BaseModel):
    title: str


PLAN = Step("plan", Plan)
CODE = Step("code", Plan)


class Desk:
    """One generation after another, on one record and one endpoint."""

    def __init__(self, endpoint: Endpoint, folder: Path) -> None:
        self.folder = folder
        self.endpoint = endpoint
        self.settings: dict[str, Any] = {"model": "openai/any", "api_base": endpoint.url, "call_timeout": 20.0}
        self.told: list[str] = []
        self.events: list[Event] = []

    def model(
        self, budget: Budget | None = None, *, cache: Any = "auto", transcript: Path | None = None, **settings: Any
    ) -> Model:
        """A new generation: nothing but the folder is left of the one before."""
        return Model(
            provider_for(Settings(**{**self.settings, **settings})),
            Account(budget),
            Transcript(transcript, self.told.append),
            self.events.append,
            answers=Answers(Record(LocalShelf(self.folder), self.told.append), cache),
            warn=self.told.append,
        )

    def entries(self) -> list[dict[str, Any]]:
        """The bodies of the answers on record."""
        files = sorted((self.folder / KIND).rglob("*.json"))
        return [json.loads(file.read_bytes().partition(b"\n")[2]) for file in files]


@pytest.fixture
def desk(endpoint: Endpoint, tmp_path: Path) -> Desk:
    numbers = iter(range(1, 1000))
    endpoint.respond = lambda request: Reply(json.dumps({"description": f"answer {next(numbers)}", "title": "t"}))
    return Desk(endpoint, tmp_path / "record")


def asked(request: str) -> list[Message]:
    return [HELLO[0], {"role": "user", "content": request}]


# ---- served


async def test_an_answer_on_record_is_served_with_its_figures_and_nothing_is_asked(desk: Desk) -> None:
    first, again = desk.model(), desk.model()
    answer = await first.ask(PLAN, HELLO)
    assert await again.ask(PLAN, HELLO) == answer
    assert len(desk.endpoint.requests) == 1
    assert again.usage == first.usage
    assert again.history == first.history
    assert again.usage.by_step["plan"].input_tokens == 100
    assert [event.served for event in desk.events if isinstance(event, ModelAnswered)] == [False, True]


async def test_an_answer_is_on_disk_before_it_is_used_with_all_that_is_known_of_it(desk: Desk) -> None:
    model = desk.model()
    on_disk: list[int] = []
    desk.events.clear()
    await model.ask(PLAN, HELLO, attempt=2)
    on_disk.append(len(desk.entries()))
    (entry,) = desk.entries()
    assert on_disk == [1]
    assert {name: entry[name] for name in ("step", "attempt", "n", "messages", "finish_reason", "model")} == {
        "step": "plan",
        "attempt": 2,
        "n": 0,
        "messages": HELLO,
        "finish_reason": "stop",
        "model": "any",
    }
    assert (entry["input_tokens"], entry["output_tokens"], entry["cached_tokens"], entry["cost"]) == (100, 20, 0, None)
    assert json.loads(entry["answer"])["description"] == "answer 1"
    assert 0 < entry["seconds"] <= entry["elapsed"]
    assert len(entry["key"]) == 64
    assert entry["at"].endswith("+00:00")


async def test_the_same_question_again_in_a_generation_has_another_answer_and_both_are_served_in_order(
    desk: Desk,
) -> None:
    first, again = desk.model(), desk.model()
    answers = [(await first.ask(PLAN, HELLO)).description for _ in range(3)]
    assert answers == ["answer 1", "answer 2", "answer 3"]
    assert [(await again.ask(PLAN, HELLO)).description for _ in range(3)] == answers
    assert len(desk.endpoint.requests) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"messages": asked("Sum the other column.")},
        {"step": CODE},
        {"step": Step("plan", Report)},
        {"model": "openai/other"},
        {"litellm_params": {"temperature": 0.5}},
    ],
    ids=["messages", "step", "answer type", "model", "parameters"],
)
async def test_what_decides_an_answer_is_asked_anew_where_it_changes(desk: Desk, change: dict[str, Any]) -> None:
    await desk.model().ask(PLAN, HELLO)
    step, messages = change.pop("step", PLAN), change.pop("messages", HELLO)
    await desk.model(**change).ask(step, messages)
    assert len(desk.endpoint.requests) == 2


async def test_what_decides_nothing_asks_nothing_anew(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOTHER_KEY", SECRET)
    await desk.model().ask(PLAN, HELLO)
    await desk.model(Budget(calls=9), api_key="ANOTHER_KEY", call_timeout=7.0, name="other").ask(PLAN, HELLO, attempt=3)
    assert len(desk.endpoint.requests) == 1


async def test_override_asks_and_the_newer_answer_is_served_from_then_on(desk: Desk) -> None:
    await desk.model().ask(PLAN, HELLO)
    assert (await desk.model(cache="override").ask(PLAN, HELLO)).description == "answer 2"
    assert (await desk.model().ask(PLAN, HELLO)).description == "answer 2"
    assert len(desk.entries()) == 2


async def test_disable_neither_reads_nor_writes(desk: Desk) -> None:
    await desk.model(cache="disable").ask(PLAN, HELLO)
    assert not desk.folder.exists()
    await desk.model().ask(PLAN, HELLO)
    assert (await desk.model(cache="disable").ask(PLAN, HELLO)).description == "answer 3"
    assert len(desk.entries()) == 1


async def test_an_unusable_answer_is_served_like_any_within_a_generation_that_goes_on(desk: Desk) -> None:
    desk.endpoint.respond = lambda request: (
        Reply("no JSON") if len(request.messages) == 2 else Reply(json.dumps({"description": "mended"}))
    )
    assert (await desk.model().ask(PLAN, HELLO)).description == "mended"
    asked_so_far = len(desk.endpoint.requests)
    again = desk.model()
    assert (await again.ask(PLAN, HELLO)).description == "mended"
    assert len(desk.endpoint.requests) == asked_so_far == 2
    assert again.usage.total.calls == 2


async def test_the_fallback_model_that_answered_is_served_without_asking_the_first_one(desk: Desk) -> None:
    def respond(request: Received) -> Reply:
        if request.body["model"] == "any":
            return Reply(status=401, error="no")
        return Reply(json.dumps({"description": request.body["model"]}))

    desk.endpoint.respond = respond
    chain = {"fallback_models": ["openai/second"]}
    assert (await desk.model(**chain).ask(PLAN, HELLO)).description == "second"
    so_far = len(desk.endpoint.requests)
    assert (await desk.model(**chain).ask(PLAN, HELLO)).description == "second"
    assert len(desk.endpoint.requests) == so_far
    # and it is the second model's answer, also where that one is asked first
    assert (await desk.model(model="openai/second").ask(PLAN, HELLO)).description == "second"
    assert len(desk.endpoint.requests) == so_far


async def test_an_answer_that_arrived_is_recorded_though_nobody_waits_for_it_any_more(desk: Desk) -> None:
    class Slow(LocalShelf):
        async def create(self, path: str, content: bytes, *, durable: bool = True) -> bool:
            self.writing.set()
            await asyncio.sleep(0.3)
            return await super().create(path, content, durable=durable)

    shelf = Slow(desk.folder)
    shelf.writing = asyncio.Event()  # type: ignore[attr-defined] # of this test alone
    model = Model(
        provider_for(Settings(**desk.settings)), Account(), Transcript(), answers=Answers(Record(shelf), "auto")
    )
    asking = asyncio.ensure_future(model.ask(PLAN, HELLO))
    await shelf.writing.wait()  # type: ignore[attr-defined] # of this test alone
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (await desk.model().ask(PLAN, HELLO)).description == "answer 1"
    assert len(desk.endpoint.requests) == 1


# ---- side by side


async def test_generations_side_by_side_pay_once(desk: Desk) -> None:
    desk.endpoint.respond = lambda request: Reply('{"description": "once"}', delay=0.2)
    answers = await asyncio.gather(*[desk.model().ask(PLAN, HELLO) for _ in range(5)])
    assert {answer.description for answer in answers} == {"once"}
    assert len(desk.endpoint.requests) == 1


async def test_a_question_whose_asker_is_gone_is_asked_by_who_waits(desk: Desk) -> None:
    replies = iter([Reply("{}", delay=30), Reply('{"description": "at last"}')])
    desk.endpoint.respond = lambda request: next(replies)
    first = asyncio.ensure_future(desk.model().ask(PLAN, HELLO))
    while not desk.endpoint.requests:
        await asyncio.sleep(0.01)
    second = asyncio.ensure_future(desk.model().ask(PLAN, HELLO))
    await asyncio.sleep(0.1)
    assert len(desk.endpoint.requests) == 1
    first.cancel()
    assert (await second).description == "at last"


_PROCESS = """
import asyncio, os, sys
from pathlib import Path
from pydantic import BaseModel
from flyteplugins.codegen.core.settings import Settings
from flyteplugins.codegen.models import Account, Answers, Model, Step, Transcript, provider_for
from flyteplugins.codegen.record import LocalShelf, Record
class Plan(BaseModel):
    description: str
settings = Settings(model="openai/any", api_base=sys.argv[1])
answers = Answers(Record(LocalShelf(Path(sys.argv[2]))), "auto")
model = Model(provider_for(settings), Account(), Transcript(), answers=answers)
print(asyncio.run(model.ask(Step("plan", Plan), [{"role": "user", "content": "hello"}])).description)
"""


def process(desk: Desk) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", _PROCESS, desk.endpoint.url, str(desk.folder)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_processes_side_by_side_pay_once_and_one_that_is_killed_leaves_the_question_to_the_other(desk: Desk) -> None:
    delays = iter([30.0, 1.0])
    desk.endpoint.respond = lambda request: Reply('{"description": "paid"}', delay=next(delays))
    first = process(desk)
    while not desk.endpoint.requests:
        time.sleep(0.05)
    others = [process(desk), process(desk)]
    time.sleep(0.5)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert [other.communicate(timeout=60)[0].strip() for other in others] == ["paid", "paid"]
    assert len(desk.endpoint.requests) == 2


# ---- trouble with the disk


async def test_a_record_that_cannot_be_written_is_told_once_and_ends_nothing(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    desk.folder = tmp_path / "file" / "record"
    model = desk.model()
    await model.ask(PLAN, HELLO)
    assert (await model.ask(CODE, HELLO)).description == "answer 2"
    assert len([line for line in desk.told if "can't be written" in line]) == 1


async def test_a_corrupt_entry_is_told_and_asked_anew(desk: Desk) -> None:
    await desk.model().ask(PLAN, HELLO)
    (file,) = (desk.folder / KIND).rglob("*.json")
    file.write_bytes(file.read_bytes()[:-40])
    assert (await desk.model().ask(PLAN, HELLO)).description == "answer 2"
    assert any("corrupt" in line for line in desk.told)
    assert (await desk.model().ask(PLAN, HELLO)).description == "answer 2"


async def test_no_credential_is_on_record_or_in_the_transcript(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    transcript = tmp_path / "t.jsonl"
    params = {"extra_headers": {"x-token": SECRET + "2"}, "temperature": 0}
    await desk.model(api_key="MY_KEY", litellm_params=params, transcript=transcript).ask(PLAN, HELLO)
    assert desk.endpoint.requests[0].key == SECRET
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"answer 1" in written
    assert SECRET.encode() not in written


# ---- budgets


async def test_what_is_served_counts_as_when_it_was_paid_for(desk: Desk) -> None:
    await desk.model().ask(PLAN, HELLO)
    again = desk.model(Budget(calls=1))
    await again.ask(PLAN, HELLO)
    with pytest.raises(BudgetExceededError, match=r"1 calls .*Budget\(calls=1\) or max_calls=1.*120 tokens"):
        await again.ask(CODE, HELLO)
    again = desk.model(Budget(tokens=100))
    await again.ask(PLAN, HELLO)
    with pytest.raises(BudgetExceededError, match="tokens=100"):
        await again.ask(CODE, HELLO)
    assert len(desk.endpoint.requests) == 1


async def test_the_seconds_before_an_interruption_count(desk: Desk) -> None:
    desk.endpoint.respond = lambda request: Reply('{"description": "slow"}', delay=0.6)
    await desk.model().ask(PLAN, HELLO)
    again = desk.model(Budget(seconds=0.5))
    assert again.account.seconds < 0.3
    await again.ask(PLAN, HELLO)
    assert again.account.seconds >= 0.6
    assert again.account.seconds_left == 0
    with pytest.raises(BudgetExceededError, match=r"seconds=0\.5"):
        await again.ask(CODE, HELLO)
    assert len(desk.endpoint.requests) == 1


async def test_a_limit_on_money_holds_where_the_price_is_known(desk: Desk) -> None:
    desk.endpoint.respond = lambda request: Reply('{"description": "x"}', tokens=(1000, 500))
    model = desk.model(Budget(usd=0.01), model="gpt-4.1")  # 0.006 dollars a call
    await model.ask(PLAN, HELLO)
    await model.ask(CODE, HELLO)
    with pytest.raises(BudgetExceededError, match=r"0\.01 US dollars .*usd=0\.01.* 0\.0120 US dollars"):
        await model.ask(PLAN, asked("More."))
    assert len(desk.endpoint.requests) == 2
    assert desk.told == []


async def test_a_limit_on_money_that_cannot_hold_is_said_once(desk: Desk) -> None:
    model = desk.model(Budget(usd=0.01))
    await model.ask(PLAN, HELLO)
    await model.ask(CODE, HELLO)
    assert len(set(desk.told)) == 1
    assert "Budget(tokens=" in desk.told[0]


async def test_a_call_that_brought_no_answer_is_not_counted(desk: Desk) -> None:
    replies = iter([Reply(status=401), Reply('{"description": "x"}')])
    desk.endpoint.respond = lambda request: next(replies)
    model = desk.model(Budget(calls=1))
    with pytest.raises(CodegenError):
        await model.ask(PLAN, HELLO)
    await model.ask(PLAN, HELLO)
    assert model.usage.total.calls == 1


async def test_usage_is_by_step_in_the_order_of_asking(desk: Desk) -> None:
    desk.endpoint.respond = lambda request: Reply(
        '{"description": "x"}', tokens=(10, 1), delay=0.2 if request.step == "plan" else 0.0
    )
    model = desk.model()
    await asyncio.gather(model.ask(PLAN, HELLO), model.ask(CODE, HELLO))
    await model.ask(CODE, asked("More."))
    assert list(model.usage.by_step) == ["plan", "code"]
    assert [used.calls for used in model.usage.by_step.values()] == [1, 2]
    assert model.usage.total.input_tokens == 30
    assert [item["step"] for item in model.history if item["role"] == "assistant"] == ["plan", "code", "code"]


# ---- withdrawn


async def test_after_a_failure_what_the_last_attempt_was_told_is_asked_anew_and_the_rest_is_served(desk: Desk) -> None:
    async def generation() -> tuple[Model, list[str]]:
        model = desk.model()
        first = await model.ask(PLAN, HELLO)
        code = await model.ask(CODE, HELLO)
        repair = await model.ask(CODE, asked("Mend it."), attempt=1)
        return model, [first.description, code.description, repair.description]

    model, said = await generation()
    assert said == ["answer 1", "answer 2", "answer 3"]
    await model.withdraw(keep=("plan",))
    assert (await generation())[1] == ["answer 1", "answer 2", "answer 4"]
    assert (await generation())[1] == ["answer 1", "answer 2", "answer 4"]


async def test_a_plan_stays_unless_it_is_what_failed(desk: Desk) -> None:
    model = desk.model()
    await model.ask(PLAN, HELLO)
    await model.ask(CODE, HELLO)
    await model.withdraw(keep=("plan",))
    assert (await desk.model().ask(PLAN, HELLO)).description == "answer 1"
    assert (await desk.model().ask(CODE, HELLO)).description == "answer 3"

    desk.endpoint.respond = lambda request: Reply("no JSON")
    failed = desk.model()
    with pytest.raises(InvalidAnswerError):
        await failed.ask(PLAN, asked("Other."))
    await failed.withdraw(keep=("plan",))
    desk.endpoint.respond = lambda request: Reply('{"description": "better"}')
    assert (await desk.model().ask(PLAN, asked("Other."))).description == "better"


# ---- transcript


async def test_a_line_of_the_transcript_has_all_of_a_call_and_a_failed_call_has_one_too(
    desk: Desk, tmp_path: Path
) -> None:
    path = tmp_path / "t.jsonl"
    replies = iter([Reply(status=401, error="bad key"), Reply('{"description": "x"}')])
    desk.endpoint.respond = lambda request: next(replies)
    model = desk.model(transcript=path)
    with pytest.raises(CodegenError):
        await model.ask(PLAN, HELLO, attempt=1)
    await model.ask(PLAN, HELLO, attempt=1)
    failed, answered = [json.loads(line) for line in path.read_text().splitlines()]
    assert "bad key" in failed["error"]
    assert (failed["step"], failed["attempt"], failed["messages"]) == ("plan", 1, HELLO)
    assert {"step", "attempt", "key", "messages", "answer", "input_tokens", "output_tokens", "cost", "seconds"} <= set(
        answered
    )
    assert answered["key"] == desk.entries()[0]["key"]

    with path.open("a") as file:
        file.write('{"step": "code", "answ')  # torn: the process was killed while it wrote
    replay = Model(provider_for(Settings(model=f"replay:{path}")), Account(), Transcript())
    assert (await replay.ask(PLAN, HELLO)).description == "x"


async def test_a_replayed_transcript_is_not_recorded_once_more(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    await desk.model(transcript=path, cache="disable").ask(PLAN, HELLO)
    replay = desk.model(model=f"replay:{path}")
    assert (await replay.ask(PLAN, HELLO)).description == "answer 1"
    assert desk.entries() == []
