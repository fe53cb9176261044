"""The forms in which a typed answer is asked for, over real HTTP: which is used when, and how answers are read."""

from __future__ import annotations

import ast
import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from endpoint import Endpoint, Received, Reply
from pydantic import BaseModel, field_validator

from flyteplugins.codegen.core.errors import AnswerCutOffError, InvalidAnswerError, ModelRefusedError
from flyteplugins.codegen.core.events import Event, ModelRetried
from flyteplugins.codegen.core.paths import home
from flyteplugins.codegen.core.settings import Settings
from flyteplugins.codegen.models import Account, Answers, Model, Step, Transcript, provider_for
from flyteplugins.codegen.models.endpoint import Retries
from flyteplugins.codegen.models.litellm_provider import LiteLLMProvider
from flyteplugins.codegen.models.step import PythonCode
from flyteplugins.codegen.record import LocalShelf, Record

pytestmark = pytest.mark.slow

HELLO = [{"role": "system", "content": "You plan."}, {"role": "user", "content": "Sum the column."}]
FENCE = "```"


class Plan(BaseModel):
    description: str
    packages: list[str] = []


class Code(BaseModel):
    code: PythonCode
    packages: list[str] = []

    @field_validator("code")
    @classmethod
    def parses(cls, code: str) -> str:
        try:
            ast.parse(code)
        except SyntaxError as error:
            raise ValueError(f"the code does not parse: {error.msg} in line {error.lineno}") from None
        return code


class OneTest(BaseModel):
    name: str
    code: PythonCode


class Tests(BaseModel):
    __test__ = False

    tests: list[OneTest]
    imports: list[str] = []


PLAN = Step("plan", Plan)
CODE = Step("code", Code)
TESTS = Step("tests", Tests)
GOOD = {"description": "Adds up.", "packages": ["pandas"]}
SCRIPT = 'import re\n\nPATTERN = r"\\d+"\nTEXT = "a\\nb"\n'
IN_BLOCKS = f'{FENCE}python\n{SCRIPT}{FENCE}\n\n{FENCE}json\n{{"packages": ["pandas"]}}\n{FENCE}'


def model_at(
    base: str, name: str = "openai/any", on_event: Callable[[Event], None] | None = None, **more: Any
) -> Model:
    more = {"api_key_name": None, "params": None, "call_timeout": 5.0, "retries": Retries(base_seconds=0.01), **more}
    return Model(LiteLLMProvider(name, api_base=base, **more), Account(), Transcript(), on_event)


def forms(endpoint: Endpoint) -> list[str]:
    return [request.form for request in endpoint.requests]


def only(*known: str, answer: str = json.dumps(GOOD), status: int = 400) -> Callable[[Received], Reply]:
    """An endpoint that knows some forms alone."""

    def respond(request: Received) -> Reply:
        if request.form in known:
            return Reply(answer)
        return Reply(status=status, error=f"this server does not support {request.form}")

    return respond


# ---- which form is used


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("known", ["schema", "tool", "json", "text"])
async def test_the_strictest_form_that_the_endpoint_takes_is_used_from_then_on(
    endpoint: Endpoint, known: str, status: int
) -> None:
    endpoint.respond = only(known, status=status)
    model = model_at(endpoint.url)
    ladder = ["schema", "tool", "json", "text"]
    tried = ladder[: ladder.index(known) + 1]

    for _ in range(2):
        assert await model.ask(PLAN, HELLO) == Plan(**GOOD)

    assert forms(endpoint) == [*tried, known]
    assert model.usage.total.calls == 2, "a request that was refused is no answer that was paid for"
    assert [entry.form for entry in model.transcript.entries] == [known, known]


async def test_what_an_endpoint_takes_is_known_to_others_and_to_the_next_process(endpoint: Endpoint) -> None:
    endpoint.respond = only("json")
    first, beside = model_at(endpoint.url), model_at(endpoint.url)
    await first.ask(PLAN, HELLO)
    await beside.ask(PLAN, HELLO)
    await model_at(endpoint.url).ask(PLAN, HELLO)
    assert forms(endpoint) == ["schema", "tool", "json", "json", "json"]

    await model_at(endpoint.url, "openai/another").ask(PLAN, HELLO)
    assert forms(endpoint)[5:] == ["schema", "tool", "json"], "it is a fact about one model at one endpoint"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"form": "schema"}', '{"form": 7, "at": "never"}'])
async def test_a_damaged_memory_of_an_endpoint_is_no_memory(endpoint: Endpoint, content: str) -> None:
    endpoint.respond = only("json")
    await model_at(endpoint.url).ask(PLAN, HELLO)
    (memory,) = (home() / "endpoints").glob("*.json")
    memory.write_text(content)
    await model_at(endpoint.url).ask(PLAN, HELLO)
    assert forms(endpoint)[3:] == ["schema", "tool", "json"]


async def test_an_old_memory_of_an_endpoint_is_not_trusted(endpoint: Endpoint) -> None:
    endpoint.respond = only("json")
    await model_at(endpoint.url).ask(PLAN, HELLO)
    (memory,) = (home() / "endpoints").glob("*.json")
    known = json.loads(memory.read_text())
    memory.write_text(json.dumps({**known, "at": known["at"] - 31 * 86_400}))
    endpoint.respond = only("schema")
    await model_at(endpoint.url).ask(PLAN, HELLO)
    assert forms(endpoint)[3:] == ["schema"]


async def test_an_endpoint_that_fails_over_a_form_counts_as_refusing_it(endpoint: Endpoint) -> None:
    def respond(request: Received) -> Reply:
        if request.form == "schema":
            return Reply(status=500, error="failed to parse grammar")
        return Reply(json.dumps(GOOD))

    endpoint.respond = respond
    assert await model_at(endpoint.url, retries=Retries(tries=2, base_seconds=0.01)).ask(PLAN, HELLO) == Plan(**GOOD)
    assert forms(endpoint) == ["schema", "schema", "tool"]


async def test_a_form_that_litellm_says_the_model_does_not_take_is_not_sent(endpoint: Endpoint) -> None:
    endpoint.respond = lambda request: Reply(json.dumps(GOOD))
    assert await model_at(endpoint.url, "openai/gpt-4").ask(PLAN, HELLO) == Plan(**GOOD)
    assert forms(endpoint) == ["tool"]


async def test_a_request_that_is_refused_in_every_form_is_an_error_with_the_first_words(endpoint: Endpoint) -> None:
    endpoint.respond = only()
    with pytest.raises(ModelRefusedError, match=r"does not support schema.*litellm_params"):
        await model_at(endpoint.url).ask(PLAN, HELLO)
    assert forms(endpoint) == ["schema", "tool", "json", "text"]
    assert not (home() / "endpoints").exists(), "nothing was learned of the form"


async def test_an_endpoint_that_ignores_the_schema_twice_is_asked_in_another_form(endpoint: Endpoint) -> None:
    def respond(request: Received) -> Reply:
        return Reply(json.dumps(GOOD)) if request.form == "tool" else Reply("I would add it all up.")

    endpoint.respond = respond
    model = model_at(endpoint.url)
    assert await model.ask(PLAN, HELLO) == Plan(**GOOD)
    assert await model.ask(PLAN, HELLO) == Plan(**GOOD)
    assert forms(endpoint) == ["schema", "schema", "tool", "tool"]
    again = endpoint.requests[1].messages[-1]["content"]
    assert "no JSON object" in again
    assert '"description"' in again, "the second time the schema stands in the prompt as well"
    assert endpoint.requests[2].messages == HELLO, "another form is asked for from the beginning"


async def test_a_model_that_never_gives_json_ends_with_an_error_after_two_answers_in_each_form(
    endpoint: Endpoint,
) -> None:
    endpoint.respond = lambda request: Reply("I would rather talk.", words=True)
    with pytest.raises(InvalidAnswerError, match="no usable answer to the step 'plan'"):
        await model_at(endpoint.url).ask(PLAN, HELLO)
    assert forms(endpoint) == ["schema"] * 2 + ["tool"] * 2 + ["json"] * 2 + ["text"] * 2


async def test_a_model_that_breaks_code_in_json_gives_it_in_fenced_blocks_and_plans_stay_in_json(
    endpoint: Endpoint,
) -> None:
    def respond(request: Received) -> Reply:
        if request.step == "plan":
            return Reply(json.dumps(GOOD))
        # Escaped once too often: the script is a single line.
        return Reply(IN_BLOCKS if request.form == "text" else json.dumps({"code": SCRIPT.replace("\n", "\\n")}))

    endpoint.respond = respond
    model = model_at(endpoint.url)
    assert (await model.ask(CODE, HELLO)).code == SCRIPT
    assert await model.ask(PLAN, HELLO) == Plan(**GOOD)
    assert (await model_at(endpoint.url).ask(CODE, HELLO)).packages == ["pandas"]
    assert forms(endpoint) == ["schema", "schema", "text", "schema", "text"]


async def test_the_name_of_a_file_is_no_code_and_a_model_that_gives_it_is_asked_in_text(endpoint: Endpoint) -> None:
    endpoint.respond = lambda request: Reply(
        IN_BLOCKS if request.form == "text" else json.dumps({"code": "solution.py", "packages": []})
    )
    assert (await model_at(endpoint.url).ask(CODE, HELLO)).code == SCRIPT
    assert forms(endpoint) == ["schema", "schema", "text"]
    said = endpoint.requests[1].messages[-1]["content"]
    assert "code: Value error, must be the code itself, and is 'solution.py'" in said


async def test_the_schema_in_the_prompt_has_no_code_where_code_travels_beside_it(endpoint: Endpoint) -> None:
    endpoint.respond = only("text", answer=IN_BLOCKS)
    await model_at(endpoint.url).ask(CODE, HELLO)
    asked = endpoint.requests[-1].messages[-1]["content"]
    (schema,) = [json.loads(line) for line in asked.splitlines() if line.startswith('{"')]
    assert list(schema["properties"]) == ["packages"]
    assert "x-python" not in json.dumps([request.body for request in endpoint.requests])


async def test_questions_side_by_side_share_what_is_learned(endpoint: Endpoint) -> None:
    endpoint.respond = only("tool")
    model = model_at(endpoint.url)
    answers = await asyncio.gather(*[model.ask(PLAN, HELLO) for _ in range(4)])
    assert answers == [Plan(**GOOD)] * 4
    await model.ask(PLAN, HELLO)
    assert forms(endpoint)[-1] == "tool"
    assert len(endpoint.requests) <= 9


async def test_the_conversation_on_record_is_the_same_in_every_form(endpoint: Endpoint) -> None:
    told = {}
    for known in ("schema", "tool", "json", "text"):
        endpoint.respond = only(known)
        model = model_at(endpoint.url, f"openai/{known}")
        await model.ask(PLAN, HELLO)
        told[known] = model.transcript.entries[0].messages
    assert all(messages == HELLO for messages in told.values())


async def test_a_transcript_with_several_forms_replays(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.respond = lambda request: Reply(json.dumps(GOOD) if request.form == "json" else "No.", words=True)
    saved = tmp_path / "transcript.jsonl"
    live = Model(model_at(endpoint.url).provider, Account(), Transcript(saved))
    assert await live.ask(PLAN, HELLO) == Plan(**GOOD)
    assert len(endpoint.requests) == 5
    replay = Model(provider_for(Settings(model=f"replay:{saved}")), Account(), Transcript())
    assert await replay.ask(PLAN, HELLO) == Plan(**GOOD)
    assert replay.usage == live.usage


@pytest.mark.parametrize(
    "unusable", [Reply("I would talk."), Reply('{"code": "x =', finish_reason="length")], ids=["prose", "cut off"]
)
async def test_a_generation_that_is_killed_between_two_unusable_answers_goes_on_in_another_form(
    endpoint: Endpoint, tmp_path: Path, unusable: Reply
) -> None:
    def respond(request: Received) -> Reply:
        return unusable if request.form == "schema" else Reply(IN_BLOCKS, words=True)

    record = Record(LocalShelf(tmp_path))
    endpoint.respond = lambda request: Reply(status=401) if len(endpoint.requests) == 2 else respond(request)
    killed = Model(model_at(endpoint.url).provider, Account(), Transcript(), answers=Answers(record))
    with pytest.raises(ModelRefusedError):
        await killed.ask(CODE, HELLO)

    endpoint.respond = respond
    again = Model(model_at(endpoint.url).provider, Account(), Transcript(), answers=Answers(record))
    assert (await again.ask(CODE, HELLO)).code == SCRIPT
    assert forms(endpoint)[:3] == ["schema"] * 3
    assert forms(endpoint)[3] in {"tool", "text"}


# ---- Anthropic


async def test_anthropic_goes_down_the_same_ladder(endpoint: Endpoint) -> None:
    def respond(request: Received) -> Reply:
        if "output_config" in request.body or "output_format" in request.body:
            return Reply(status=400, error="output_config: Extra inputs are not permitted")
        return Reply(json.dumps(GOOD))

    endpoint.respond = respond
    model = model_at(endpoint.root, "anthropic/claude-sonnet-4-5")
    assert await model.ask(PLAN, HELLO) == Plan(**GOOD)
    assert await model.ask(PLAN, HELLO) == Plan(**GOOD)
    _, second, third = endpoint.requests
    assert second.step == third.step == "plan"
    assert "description" in second.body["tools"][0]["input_schema"]["properties"]


async def test_anthropic_in_words_is_read_from_fenced_blocks(endpoint: Endpoint) -> None:
    endpoint.respond = lambda request: (
        Reply(status=400, error="not here")
        if {"output_config", "output_format", "tools"} & set(request.body)
        else Reply(IN_BLOCKS)
    )
    assert (await model_at(endpoint.root, "anthropic/claude-sonnet-4-5").ask(CODE, HELLO)).code == SCRIPT


@pytest.mark.parametrize("shape", ["openai", "anthropic"])
async def test_thinking_is_no_part_of_the_answer(endpoint: Endpoint, shape: str) -> None:
    thinking = f"Perhaps {json.dumps({'description': 'A first draft, which is longer than the answer.'})}?"
    endpoint.respond = lambda request: Reply(json.dumps(GOOD), thinking=thinking)
    base, name = (endpoint.url, "openai/any") if shape == "openai" else (endpoint.root, "anthropic/claude-sonnet-4-5")
    model = model_at(base, name)
    assert await model.ask(PLAN, HELLO) == Plan(**GOOD)
    assert "draft" not in model.transcript.text()


async def test_thinking_among_the_parts_of_the_content_is_no_part_of_the_answer(endpoint: Endpoint) -> None:
    endpoint.say(Reply(json.dumps(GOOD), thinking='{"description": "A longer first draft."}', parts=True))
    assert await model_at(endpoint.url, "mistral/magistral-medium-2506").ask(PLAN, HELLO) == Plan(**GOOD)


async def test_an_answer_that_a_server_took_for_thinking_is_found(endpoint: Endpoint) -> None:
    endpoint.say(Reply("", thinking=json.dumps(GOOD)))
    assert await model_at(endpoint.url).ask(PLAN, HELLO) == Plan(**GOOD)
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    "text",
    [
        f"<think>No, {{}}.</think>\n{json.dumps(GOOD)}",
        f"<thinking>\nHm.\n</thinking>{json.dumps(GOOD)}",
        f"First the sum, then the rest.\n</think>\n\n{json.dumps(GOOD)}",
    ],
    ids=["tag", "other tag", "the opening tag is in the template"],
)
async def test_thinking_in_tags_is_no_part_of_the_answer(endpoint: Endpoint, text: str) -> None:
    endpoint.say(text)
    assert await model_at(endpoint.url).ask(PLAN, HELLO) == Plan(**GOOD)


async def test_thinking_that_never_ends_is_an_empty_answer(endpoint: Endpoint) -> None:
    endpoint.say("<think>Let me see. {", GOOD)
    assert await model_at(endpoint.url).ask(PLAN, HELLO) == Plan(**GOOD)
    assert "nothing after the thinking" in endpoint.requests[1].messages[-1]["content"]


# ---- parameters that a model does not take


@pytest.mark.parametrize(
    "said",
    [
        "Unsupported parameter: 'temperature' is not supported with this model.",
        "Unsupported value: 'temperature' does not support 0.2 here. Only the default (1) value is supported.",
        "`temperature` may only be set to 1 when thinking is enabled.",
        "temperature: Extra inputs are not permitted",
    ],
)
async def test_a_parameter_that_the_model_does_not_take_is_left_out_which_is_said_once(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture, said: str
) -> None:
    def respond(request: Received) -> Reply:
        return Reply(status=400, error=said) if "temperature" in request.body else Reply(json.dumps(GOOD))

    endpoint.respond = respond
    told: list[Event] = []
    model = model_at(endpoint.url, on_event=told.append, params={"temperature": 0.2, "top_p": 0.9})
    for _ in range(2):
        assert await model.ask(PLAN, HELLO) == Plan(**GOOD)
    await model_at(endpoint.url, params={"temperature": 0.2}).ask(PLAN, HELLO)

    assert ["temperature" in request.body for request in endpoint.requests] == [True, False, False, False]
    assert endpoint.requests[1].body["top_p"] == 0.9
    assert forms(endpoint) == ["schema"] * 4, "the form was not what it did not take"
    (retried,) = [event for event in told if isinstance(event, ModelRetried)]
    assert retried.reason == "It does not take temperature, which is left out from now on"
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [line for line in warnings if "temperature" in line] == [f"step plan: openai/any: {retried.reason}."]


async def test_a_model_that_litellm_itself_knows_to_take_no_temperature_is_asked_without(endpoint: Endpoint) -> None:
    endpoint.respond = lambda request: Reply(json.dumps(GOOD))
    model = model_at(endpoint.url, "openai/o3-mini", params={"temperature": 0.2})
    assert await model.ask(PLAN, HELLO) == Plan(**GOOD)
    assert ["temperature" in request.body for request in endpoint.requests] == [False]


async def test_a_limit_of_the_length_goes_by_its_other_name_where_the_model_wants_that(endpoint: Endpoint) -> None:
    said = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."

    def respond(request: Received) -> Reply:
        return Reply(status=400, error=said) if "max_tokens" in request.body else Reply(json.dumps(GOOD))

    endpoint.respond = respond
    assert await model_at(endpoint.url, params={"max_tokens": 4096}).ask(PLAN, HELLO) == Plan(**GOOD)
    assert endpoint.requests[1].body["max_completion_tokens"] == 4096


async def test_a_value_that_is_refused_is_the_users_to_change_and_asked_once(endpoint: Endpoint) -> None:
    endpoint.respond = lambda request: Reply(status=400, error="temperature must be at most 2")
    with pytest.raises(ModelRefusedError, match=r"temperature must be at most 2.*litellm_params"):
        await model_at(endpoint.url, params={"temperature": 3}).ask(PLAN, HELLO)
    assert len(endpoint.requests) == 1


# ---- answers that are cut off


async def test_a_text_that_is_cut_off_is_continued_and_put_together(endpoint: Endpoint) -> None:
    long = f"{FENCE}python\ndef total(rows):\n    result = 0\n    for row in rows:\n        result += row\n"
    parts = [
        Reply(f"{long}    retu", finish_reason="length"),
        # It opens the block again and repeats its last line, as models do.
        Reply(f"{FENCE}python\n        result += row\n    return result\n{FENCE}\n", finish_reason="length"),
        Reply(f'{FENCE}json\n{{"packages": ["numpy"]}}\n{FENCE}'),
    ]

    def respond(request: Received) -> Reply:
        return parts.pop(0) if request.form == "text" else Reply(status=400, error="not here")

    endpoint.respond = respond
    model = model_at(endpoint.url)
    answer = await model.ask(CODE, HELLO)

    assert answer.code == (
        "def total(rows):\n    result = 0\n    for row in rows:\n        result += row\n    return result\n"
    )
    assert answer.packages == ["numpy"]
    assert endpoint.requests[-2].messages[2] == {"role": "assistant", "content": long}
    assert "Go on" in endpoint.requests[-2].messages[3]["content"]
    assert model.usage.total.calls == 3, "each part is an answer that was paid for"


async def test_an_answer_of_another_form_that_is_cut_off_is_asked_for_shorter(endpoint: Endpoint) -> None:
    endpoint.say(Reply('{"code": "x =', finish_reason="length"), {"code": "x = 1"})
    assert (await model_at(endpoint.url).ask(CODE, HELLO)).code == "x = 1"
    assert "shorter" in endpoint.requests[1].messages[-1]["content"]
    assert forms(endpoint) == ["schema", "schema"], "an answer that was cut off says nothing of its form"


async def test_code_that_is_cut_off_twice_is_asked_for_as_a_text_which_can_be_continued(endpoint: Endpoint) -> None:
    parts = [f"{FENCE}python\nx = 1\n", f"y = 2\n{FENCE}\n"]

    def respond(request: Received) -> Reply:
        if request.form != "text":
            return Reply('{"code": "x = 1\\ny =', finish_reason="length")
        return Reply(parts.pop(0), finish_reason="length" if parts else "stop")

    endpoint.respond = respond
    assert (await model_at(endpoint.url).ask(CODE, HELLO)).code == "x = 1\ny = 2\n"
    assert forms(endpoint) == ["schema", "schema", "text", "text"]

    endpoint.respond = lambda request: Reply(json.dumps({"code": "z = 3"}))
    assert (await model_at(endpoint.url).ask(CODE, HELLO)).code == "z = 3"
    assert forms(endpoint)[-1] == "schema", "how long an answer may be is no fact of the endpoint"


async def test_a_text_without_end_is_given_up(endpoint: Endpoint) -> None:
    def respond(request: Received) -> Reply:
        if request.form != "text":
            return Reply(status=400, error="not here")
        return Reply(f"{FENCE}python\n" + "x = 1\n" * 50, finish_reason="length")

    endpoint.respond = respond
    with pytest.raises(AnswerCutOffError, match="max_tokens"):
        await model_at(endpoint.url).ask(CODE, HELLO)
    assert len(endpoint.requests) < 12


# ---- what is in the text


@pytest.mark.parametrize(
    "text",
    [
        IN_BLOCKS,
        f"Here you are.\n\n{IN_BLOCKS}\n\nIt needs {{pandas}}, see `--help`.",
        IN_BLOCKS.replace(f"{FENCE}python", "~~~py").replace(f"\n{FENCE}\n\n", "\n~~~\n\n"),
        f'{{"packages": ["pandas",],}}\n\n{FENCE}python\n{SCRIPT}{FENCE}',
        f"{FENCE}bash\npip install pandas\n{FENCE}\n{IN_BLOCKS}\n{FENCE}python\nprint(1)\n{FENCE}",
        IN_BLOCKS.replace(f"{FENCE}python", FENCE),
        json.dumps({"code": SCRIPT, "packages": ["pandas"]}).replace("\\\\d", "\\d"),
        json.dumps({"code": SCRIPT, "packages": ["pandas"]}).replace('["pandas"]', '["pandas",\n],'),
        json.dumps({"answer": {"code": SCRIPT, "packages": ["pandas"]}}),
        f'{FENCE}json\n{{"code": "see below", "packages": ["pandas"]}}\n{FENCE}\n{FENCE}python\n{SCRIPT}{FENCE}',
        f"{{'code': {SCRIPT!r}, 'packages': ['pandas']}}",
        f'{FENCE}python\n{{"code": r"""{SCRIPT}""", "packages": ["pandas"]}}\n{FENCE}',
        json.dumps({"code": SCRIPT, "packages": ["pandas"]}) + f"\nUse it so:\n{FENCE}python\ntotal()\n{FENCE}",
    ],
    ids=[
        "two blocks",
        "prose around",
        "tildes",
        "json first, with commas too many",
        "several blocks",
        "no language",
        "escape of no meaning",
        "trailing commas",
        "wrapped",
        "code elsewhere",
        "Python's quotes",
        "three quotes in a block",
        "example of use",
    ],
)
async def test_code_is_found_wherever_the_model_puts_it(endpoint: Endpoint, text: str) -> None:
    endpoint.say(text)
    answer = await model_at(endpoint.url).ask(CODE, HELLO)
    assert (answer.code, answer.packages) == (SCRIPT, ["pandas"])
    assert len(endpoint.requests) == 1


async def test_fences_in_the_strings_of_code_do_not_end_its_block(endpoint: Endpoint) -> None:
    code = f'HELP = """\n{FENCE}json\n{{"code": "x = 1"}}\n{FENCE}\n"""\n'
    endpoint.say(f'{FENCE}python\n{code}{FENCE}\n{FENCE}json\n{{"packages": []}}\n{FENCE}')
    assert (await model_at(endpoint.url).ask(CODE, HELLO)).code == code


async def test_json_in_the_code_is_not_taken_for_the_answer(endpoint: Endpoint) -> None:
    code = 'FAULT = {"code": "missing", "packages": ["a", "b", "c", "d"]}\n'
    endpoint.say(f"{FENCE}python\n{code}{FENCE}")
    assert await model_at(endpoint.url).ask(CODE, HELLO) == Code(code=code)


async def test_several_fields_of_code_take_the_blocks_in_their_order(endpoint: Endpoint) -> None:
    blocks = [f"{FENCE}python\ndef test_{name}():\n    pass\n{FENCE}" for name in "ab"]
    fields = json.dumps({"tests": [{"name": "test_a"}, {"name": "test_b"}], "imports": []})
    endpoint.say("\n\n".join([blocks[0], f"{FENCE}json\n{fields}\n{FENCE}"]), "\n\n".join([*blocks, fields]))
    answer = await model_at(endpoint.url).ask(TESTS, HELLO)
    assert [(test.name, test.code.split("(")[0]) for test in answer.tests] == [
        ("test_a", "def test_a"),
        ("test_b", "def test_b"),
    ]
    said = endpoint.requests[1].messages[-1]["content"]
    assert "There must be 2 fenced blocks of Python, one for code of each of tests" in said


async def test_a_list_of_lines_stands_for_a_text(endpoint: Endpoint) -> None:
    endpoint.say({"description": ["Reads.", "Adds up."], "packages": ["pandas"]})
    assert (await model_at(endpoint.url).ask(PLAN, HELLO)).description == "Reads.\nAdds up."


async def test_an_object_with_none_of_the_fields_is_no_answer(endpoint: Endpoint) -> None:
    endpoint.say({"result": "done"}, GOOD)
    assert await model_at(endpoint.url).ask(PLAN, HELLO) == Plan(**GOOD)
    assert (
        "none of the fields that were asked for: description, packages" in endpoint.requests[1].messages[-1]["content"]
    )


@pytest.mark.parametrize("shape", ["openai", "anthropic"])
async def test_a_refusal_is_told_and_asked_again(endpoint: Endpoint, shape: str) -> None:
    refusal = Reply(refusal="I won't.") if shape == "openai" else Reply("I won't.", finish_reason="refusal")
    endpoint.say(refusal, GOOD)
    base, name = (endpoint.url, "openai/any") if shape == "openai" else (endpoint.root, "anthropic/claude-sonnet-4-5")
    assert await model_at(base, name).ask(PLAN, HELLO) == Plan(**GOOD)
    assert "refused: I won't" in json.dumps(endpoint.requests[1].body)


# ---- free text


async def test_a_question_without_a_schema_is_sent_as_it_is_and_a_refusal_of_it_is_an_error(endpoint: Endpoint) -> None:
    endpoint.say("Hello.", Reply(status=400, error="no"))
    provider = LiteLLMProvider("openai/any", api_base=endpoint.url, retries=Retries(base_seconds=0.01))
    completion = await provider.complete("talk", HELLO, None, "talk")
    assert (completion.text, completion.form, completion.form_left) == ("Hello.", "", False)
    assert endpoint.requests[0].messages == HELLO
    with pytest.raises(ModelRefusedError):
        await provider.complete("talk", HELLO, None, "talk")
