"""From a question to a usable answer: what is asked again, in which words, in which form, and of which model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from flyteplugins.codegen.core.errors import AnswerCutOffError, InvalidAnswerError
from flyteplugins.codegen.models.answer import BadAnswerError, read_answer
from flyteplugins.codegen.models.completion import CUT_OFF, REFUSED
from flyteplugins.codegen.models.continued import completed, joined
from flyteplugins.codegen.models.step import A, Message, Step
from flyteplugins.codegen.models.transcript import Entry
from flyteplugins.codegen.prompts import render

_QUOTED_CHARACTERS: Final = 40_000
"""How much of an unusable answer is sent back with the question for another."""

_MOST_CONTINUATIONS: Final = 3
"""How often an answer that was cut off is continued."""

Call = Callable[[Sequence[Message], Sequence[Message], int], Awaitable[Entry]]
"""Makes one call: the conversation, what of it was not sent before, and how many models are passed over."""

_Ask = Callable[[Sequence[Message], Sequence[Message]], Awaitable[Entry]]


@dataclass(frozen=True)
class _Unusable:
    """Two answers of one model, in one form, that could not be used: the second, and what was wrong with it."""

    last: Entry
    problem: BadAnswerError


async def usable_answer(step: Step[A], messages: Sequence[Message], call: Call) -> A:
    """Ask until an answer can be used.

    An unusable answer is asked for once more, quoting what was wrong. Where that does not help, the question is put
    anew, in another form if the model has shown that this one does not suit it, and then to the next model.

    Args:
        step: What is asked, and the type of its answer.
        messages: The conversation so far.
        call: Makes one call.

    Returns:
        The validated answer.

    Raises:
        InvalidAnswerError: No answer was usable.
        AnswerCutOffError: No answer was usable, and the last was cut off.
    """
    passed_over = 0
    while True:
        answer = await _of_one_form(step, messages, partial(_passing_over, call, passed_over))
        if not isinstance(answer, _Unusable):
            return answer
        if not answer.last.form_left:
            if not answer.last.next_model:
                raise _error(step.name, answer)
            passed_over = answer.last.next_model


async def _passing_over(call: Call, passed_over: int, conversation: Sequence[Message], new: Sequence[Message]) -> Entry:
    return await call(conversation, new, passed_over)


async def _of_one_form(step: Step[A], messages: Sequence[Message], ask: _Ask) -> A | _Unusable:
    conversation = new = list(messages)
    form: str | None = None
    while True:
        entry, text = await _whole(conversation, new, ask)
        try:
            return _read(entry, text, step)
        except BadAnswerError as problem:
            # Questions side by side may have left the form meanwhile: then this was the first one in its own.
            if entry.form_left or entry.form == form:
                return _Unusable(entry, problem)
            form = entry.form
            # Some endpoints refuse an empty message.
            quoted: Message = {"role": "assistant", "content": _shortened(text) or "(no answer)"}
            again: Message = {"role": "user", "content": render("again", problem=problem)}
            # The answer that it quotes is in the history already.
            conversation, new = [*conversation, quoted, again], [again]


async def _whole(conversation: Sequence[Message], new: Sequence[Message], ask: _Ask) -> tuple[Entry, str]:
    """An answer, continued where it was cut off and is of a form that can be continued."""
    entry = await ask(conversation, new)
    text = entry.answer
    for _ in range(_MOST_CONTINUATIONS):
        if entry.finish_reason != CUT_OFF or entry.form != "text" or not (so_far := completed(text)):
            break
        go_on: Message = {"role": "user", "content": render("go_on")}
        entry = await ask([*conversation, {"role": "assistant", "content": so_far}, go_on], [go_on])
        text = joined(so_far, entry.answer)
    return entry, text


def _read(entry: Entry, text: str, step: Step[A]) -> A:
    if entry.finish_reason == CUT_OFF:
        raise BadAnswerError(
            "Your answer was cut off at the limit of its length, so it is incomplete. Give a complete answer that is "
            "shorter: no comments or explanations that can be left out."
        )
    if entry.finish_reason in REFUSED:
        raise BadAnswerError(f"The request was refused: {text[:500] or entry.finish_reason}")
    return read_answer(text, step.answer_type)


def _shortened(text: str) -> str:
    if len(text) <= _QUOTED_CHARACTERS:
        return text
    half = _QUOTED_CHARACTERS // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"


def _error(step: str, failed: _Unusable) -> InvalidAnswerError | AnswerCutOffError:
    last = failed.last
    if last.finish_reason == CUT_OFF:
        return AnswerCutOffError(
            f"The model {last.model} was cut off in its answer to the step {step!r}, also when it was asked for a "
            f"shorter one ({last.output_tokens} tokens). Raise max_tokens in litellm_params=, or ask for less."
        )
    return InvalidAnswerError(
        f"The model {last.model} gave no usable answer to the step {step!r}, also when it was asked again. "
        f"Last: {failed.problem} Try another model, or word the request otherwise."
    )
