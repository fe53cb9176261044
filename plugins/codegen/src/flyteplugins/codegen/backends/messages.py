"""What the model is told, step by step. The part that all steps share comes first and is the same bytes each time."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from flyteplugins.codegen.backends.draft import Draft
from flyteplugins.codegen.core.request import Request
from flyteplugins.codegen.core.settings import Settings
from flyteplugins.codegen.core.solution import CodePlan
from flyteplugins.codegen.data.constraints import Evaluation, ParsedConstraints, evaluate, with_checks
from flyteplugins.codegen.data.context import LEFT_OUT, describe
from flyteplugins.codegen.data.privacy import Redactor
from flyteplugins.codegen.data.profile import Profile
from flyteplugins.codegen.models.step import Message
from flyteplugins.codegen.prompts import render

_ADDRESS: Final = re.compile(r"(?<= at )0x[0-9a-fA-F]+")
"""Of an object, as its `repr` has it."""

_TEMPORARY_NAME: Final = re.compile(r"(?<=/)tmp[a-z0-9_]{8}\b")
"""As `tempfile` makes them."""


_EXAMPLES: Final = {
    "File": "the content of a small text file",
    "list[File]": "the content of a small text file, the only one of the list",
    "Dir": "the content of a small text file, the only one in the folder",
    "DataFrame": "a small table as CSV, with a header",
    "pandas.DataFrame": "a small table as CSV, with a header",
    "dict": "dict, as a JSON object",
    "list": "list, as a JSON array",
}
"""What a model is asked for as the example of an input; the type itself where nothing is said here."""


@dataclass
class Messages:
    """The messages of each step of one request.

    Attributes:
        request: What is asked.
        settings: `system_prompt` replaces role and conventions; the contract and the answer rules always follow.
        profiles: What is known of the samples.
        data_context: The same as text.
        redactor: Takes the values of the data out of what a run printed; None where the model may see them.
        evaluation: The data checks read from the constraints, and what the samples say to them.
    """

    request: Request
    settings: Settings
    profiles: Mapping[str, Profile]
    data_context: str
    redactor: Redactor | None = None
    evaluation: Evaluation = field(default_factory=Evaluation)

    @property
    def schemas(self) -> dict[str, str]:
        """Pandera schema by sample, with the data checks in it."""
        checked = {name: with_checks(seen, self.evaluation.checks) for name, seen in self.profiles.items()}
        return {name: seen.schema_code for name, seen in checked.items() if seen.schema_code}

    def shorter(self, messages: Sequence[Message], left_out: int) -> list[Message]:
        """The same messages with less about the samples; `left_out` is a place in `data.context.LEFT_OUT`."""
        if not left_out or not self.profiles:
            return list(messages)
        less = {self.data_context: self._described(left_out)}
        if left_out == len(LEFT_OUT) - 1:
            less[self._checked()] = render("data_checks", schemas={}, notes=self._notes())
        told = []
        for message in messages:
            content = message["content"]
            for long, short in less.items():
                content = content.replace(long, short) if long else content
            told.append({**message, "content": content})
        return told

    def shorten(self, left_out: int) -> int | None:
        """The next place in `data.context.LEFT_OUT` that makes the messages shorter; None where there is none."""
        longest = len(self._described(left_out))
        places = range(left_out + 1, len(LEFT_OUT)) if self.profiles else ()
        return next((place for place in places if len(self._described(place)) < longest), None)

    def _described(self, left_out: int) -> str:
        return describe(self.profiles, privacy=self.settings.sample_privacy, left_out=left_out)

    async def add_checks(self, parsed: ParsedConstraints) -> None:
        """Take the data checks that can be made into what the model is told."""
        self.evaluation = await evaluate(self.profiles, self.request.samples, parsed.checks)

    def plan(self) -> list[Message]:
        """Ask for the plan."""
        return self._messages(render("plan"))

    def constraints(self) -> list[Message]:
        """Ask for the constraints as data checks."""
        return self._messages(render("constraints"))

    def code(self, plan: CodePlan) -> list[Message]:
        """Ask for the code."""
        return self._messages(render("code", plan=plan, examples=self._examples(), data=self._checked()))

    def tests(self, plan: CodePlan, must_cover: Collection[int], problem: str | None) -> list[Message]:
        """Ask for the tests; `problem` says why an earlier module is asked for again."""
        text = render(
            "tests",
            plan=plan,
            must_cover=list(must_cover),
            data=self._checked(),
            problem=problem,
            kinds=self.request.contract.kinds,
        )
        return self._messages(text)

    def diagnosis(self, draft: Draft, failure: str, earlier: Sequence[str]) -> list[Message]:
        """Ask which artefact is at fault."""
        text = render(
            "diagnosis",
            plan=draft.plan,
            code=draft.solution.code,
            tests=draft.tests,
            failure=self._shown(failure, draft),
            earlier=[self._shown(line, draft) for line in earlier],
        )
        return self._messages(text)

    def repair_code(self, draft: Draft, problem: str) -> list[Message]:
        """Ask for the code again."""
        text = render(
            "repair_code",
            plan=draft.plan,
            code=draft.solution.code,
            problem=self._shown(problem, draft),
            examples=self._examples(),
        )
        return self._messages(text)

    def repair_tests(self, draft: Draft, problem: str, names: Collection[str]) -> list[Message]:
        """Ask for other versions of the tests in `names`."""
        text = render(
            "repair_tests", plan=draft.plan, tests=draft.tests, problem=self._shown(problem, draft), names=sorted(names)
        )
        return self._messages(text)

    def more_tests(self, draft: Draft, problem: str) -> list[Message]:
        """Ask for tests beside those that there are."""
        text = render("more_tests", plan=draft.plan, tests=draft.tests, problem=self._shown(problem, draft))
        return self._messages(text)

    def revise_plan(self, before: Draft, follow_up: str) -> list[Message]:
        """Ask for the plan after a follow-up request."""
        return self._messages(render("revise_plan", plan=before.plan, code=before.solution.code, follow_up=follow_up))

    def revise_code(self, draft: Draft, follow_up: str) -> list[Message]:
        """Ask for the code after a follow-up request; the draft has the plan after it and the code before it."""
        text = render(
            "revise_code",
            plan=draft.plan,
            code=draft.solution.code,
            follow_up=follow_up,
            examples=self._examples(),
            data=self._checked(),
        )
        return self._messages(text)

    def revise_tests(self, draft: Draft, follow_up: str) -> list[Message]:
        """Ask which tests hold after a follow-up request, and for new ones; the code is not shown."""
        text = render(
            "revise_tests",
            plan=draft.plan,
            tests=draft.tests,
            follow_up=follow_up,
            data=self._checked(),
            kinds=self.request.contract.kinds,
        )
        return self._messages(text)

    def deciding(self, plan: CodePlan) -> str:
        """The texts that may decide who is right."""
        return "\n".join(
            [
                self.request.prompt,
                *self.request.follow_ups,
                *self.request.constraints,
                self.request.schema or "",
                plan.description,
                plan.approach,
            ]
        )

    def _messages(self, step: str) -> list[Message]:
        role = self.settings.system_prompt or render("conventions")
        return [
            {"role": "system", "content": f"{role}\n\n{self._contract()}"},
            # Apart, so that a provider can be told where the part ends that all steps share; sent as one message.
            {"role": "user", "content": self._shared()},
            {"role": "user", "content": step},
        ]

    def _contract(self) -> str:
        return render("contract", kinds=self.request.contract.kinds)

    def _shared(self) -> str:
        return render(
            "request",
            prompt=self.request.prompt,
            contract=self.request.contract,
            schema=self.request.schema,
            constraints=self.request.constraints,
            data_context=self.data_context,
            follow_ups=self.request.follow_ups,
        )

    def _examples(self) -> list[str]:
        contract, given = self.request.contract, self.request.given
        return [
            f"{name} ({_EXAMPLES.get(kind, kind)})"
            for name, kind in contract.inputs.items()
            if name not in contract.samples and name not in given
        ]

    def _checked(self) -> str:
        return render("data_checks", schemas=self.schemas, notes=self._notes())

    def _notes(self) -> list[str]:
        return [str(kept) for kept in self.evaluation.kept]

    def _shown(self, text: str, draft: Draft) -> str:
        # What is another text at each run makes another question of the same failure, which is paid for again.
        text = _TEMPORARY_NAME.sub("tmp...", _ADDRESS.sub("0x...", text))
        if self.redactor is None:
            return text
        written = [draft.plan.description, draft.plan.approach, draft.solution.code, draft.tests or ""]
        return self.redactor(text, [self._shared(), self._contract(), *written])
