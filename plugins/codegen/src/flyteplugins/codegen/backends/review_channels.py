"""How a person is asked: by a callback, through Flyte, or in the terminal."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import inspect
import re
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol

from flyteplugins.codegen.core.errors import InvalidRequestError, ReviewFailedError
from flyteplugins.codegen.core.review import OnReview, ReviewDecision, ReviewRequest
from flyteplugins.codegen.core.settings import Settings
from flyteplugins.codegen.report.review import heading, parts, visible

_NOBODY: Final = (
    "review={review!r}: nobody is there to ask. Give the agent on_review=, run it as a Flyte task on a cluster or with "
    "Flyte's TUI, or start it in a terminal."
)

_NO_CONDITIONS: Final = (
    "review={review!r}: nobody can be asked, as the backend of this cluster has no conditions (it has no actions "
    "service: _U_USE_ACTIONS is not 1 in its pods). Give the agent on_review=."
)

_HOW: Final = """Reply with one of

- `approve`
- `reject: what is to be different` (a `reject` without a reason ends the generation)
- `edit`, and on the lines below it your own version of all of {what}"""

_WHAT: Final = {"plan": "the approach", "code": "the code", "packages": "the list of packages, one a line"}

_REPLY = re.compile(r"\s*(approved?|reject(?:ed)?|edit(?:ed)?)\b[ \t]*[:.]?", re.IGNORECASE)
_FENCED = re.compile(r"\A\s*(`{3,}|~{3,})[^\n]*\n(.*?)\n?\1\s*\Z", re.DOTALL)


class Channel(Protocol):
    """A way to ask a person.

    Attributes:
        name: What events and the history call it.
    """

    name: str

    async def ask(self, request: ReviewRequest, seconds: float | None) -> ReviewDecision | None:
        """Have a person decide.

        Args:
            request: What is to be decided.
            seconds: How long they may take; None for as long as they like.

        Returns:
            The decision; None where nobody answered in time.
        """
        ...


def channel_for(settings: Settings) -> Channel | None:
    """The way to ask that holds for a generation: the callback, else Flyte, else the terminal.

    Flyte is taken in a task on a cluster, and locally under its TUI. In a local run without it Flyte itself would ask
    in the terminal, by a prompt that reads markup in what the model wrote, takes one line, and stops all other work:
    there the terminal is asked by us.

    Args:
        settings: The agent's settings.

    Returns:
        The channel; None where nothing is to be approved.

    Raises:
        InvalidRequestError: Something is to be approved, and nobody is there to ask.
    """
    if not settings.reviewed:
        return None
    if settings.on_review is not None:
        return CallbackChannel(settings.on_review)
    if (shown_in := _flyte()) is not None:
        if shown_in == _ON_A_CLUSTER and not _has_conditions():
            raise InvalidRequestError(_NO_CONDITIONS.format(review=settings.review))
        return FlyteChannel(shown_in)
    if sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty():
        from flyteplugins.codegen.backends.review_terminal import TerminalChannel

        return TerminalChannel()
    raise InvalidRequestError(_NOBODY.format(review=settings.review))


class CallbackChannel:
    """Asks the user's function.

    Args:
        on_review: A coroutine function is awaited where the generation runs; any other is called in a thread.
    """

    name = "callback"

    def __init__(self, on_review: OnReview) -> None:
        self._on_review = on_review

    async def ask(self, request: ReviewRequest, seconds: float | None) -> ReviewDecision | None:
        """Call it; what it does after the time is up is its own affair."""
        work = asyncio.ensure_future(self._decision(request))
        try:
            await asyncio.wait({work}, timeout=seconds)
            if not work.done():
                return None
        finally:
            work.cancel()
        decision = work.result()
        if not isinstance(decision, ReviewDecision):
            raise ReviewFailedError(
                f"on_review returned {type(decision).__name__}. Return ReviewDecision.approve(), .reject(reason) or "
                ".edit(version)."
            )
        return decision

    async def _decision(self, request: ReviewRequest) -> Any:
        if inspect.iscoroutinefunction(self._on_review):
            return await self._on_review(request)
        answer = await in_thread(lambda: self._on_review(request))
        return await answer if inspect.isawaitable(answer) else answer


class FlyteChannel:
    """Asks through a condition of Flyte, which whoever sees the run can signal.

    Args:
        shown_in: `markdown` where what is shown is rendered as Markdown, `text` where it is shown as it is.
    """

    name = "flyte"

    def __init__(self, shown_in: str) -> None:
        self._shown_in = shown_in

    async def ask(self, request: ReviewRequest, seconds: float | None) -> ReviewDecision | None:
        """Register a condition and wait for its signal; a reply that can't be read is asked for again."""
        import flyte
        from flyte.errors import ConditionTimedoutError

        problem = ""
        for number in range(1, _REPLIES + 1):
            condition = await flyte.new_condition.aio(
                _name(request, number),
                prompt=self._prompt(request, problem),
                prompt_type=self._shown_in,
                data_type=str,
                description=f"Approve {heading(request)}",
                timeout=seconds,
            )
            try:
                reply = await condition.wait.aio()
            except ConditionTimedoutError:
                return None
            try:
                return decision_of(str(reply))
            except ValueError as error:
                problem = str(error)
        raise ReviewFailedError(f"No reply of {_REPLIES} could be read. {problem}")

    def _prompt(self, request: ReviewRequest, problem: str) -> str:
        how = _HOW.format(what=_WHAT[request.kind])
        told = [f"**{visible(problem)}**"] if problem else []
        if self._shown_in == "markdown":
            return "\n\n".join([*told, request.markdown, f"## How to answer\n\n{how}"])
        return "\n\n".join([*told, _numbered(request), how.replace("`", "'")])


_REPLIES: Final = 5
_ON_A_CLUSTER: Final = "markdown"


def decision_of(reply: str) -> ReviewDecision:
    """Read what a person replied.

    Args:
        reply: `approve`, `reject: REASON`, or `edit` and a version below it, which may stand in a Markdown fence.

    Returns:
        The decision.

    Raises:
        ValueError: It is none of these; the message says what to reply.
    """
    match = _REPLY.match(reply)
    if match:
        verdict, rest = match[1].lower(), reply[match.end() :]
        if verdict.startswith("reject"):
            return ReviewDecision.reject(rest)
        if verdict.startswith("edit") and rest.strip():
            fence = _FENCED.match(rest)
            return ReviewDecision.edit(fence[2] if fence else rest.strip("\n"))
        if verdict.startswith("approve") and not rest.strip():
            return ReviewDecision.approve()
    raise ValueError(
        "The last reply was not understood. Reply approve, reject: and a reason, or edit and your version below it."
    )


async def in_thread(work: Callable[[], Any]) -> Any:
    """Do blocking work in a thread that nobody waits for when the program ends.

    Args:
        work: What to do.

    Returns:
        What it returns; what it raises is raised.
    """
    loop, done = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
    context = contextvars.copy_context()

    def tell(value: Any, error: BaseException | None) -> None:
        if not done.done():
            done.set_exception(error) if error else done.set_result(value)

    def run() -> None:
        value, error = None, None
        try:
            value = context.run(work)
        except BaseException as raised:  # it is raised where it is waited for
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, value, error)

    threading.Thread(target=run, name="codegen-review", daemon=True).start()
    return await done


def _flyte() -> str | None:
    """How a condition would be shown here; None where Flyte has nobody to ask."""
    import flyte
    from flyte._context import internal_ctx  # flyte has no public word for "inside a task", nor for its TUI

    context = internal_ctx()
    if not context.is_task_context():
        return None
    if flyte.ctx().mode != "local":
        return _ON_A_CLUSTER
    # The TUI takes `<...>` out of Markdown, which would show other code than is run; of text it takes nothing.
    return "text" if context.data.tracker is not None else None


def _has_conditions() -> bool:
    """Whether Flyte passes conditions on to the backend: to an older one it sends them without what they are."""
    try:
        from flyte._internal.controllers.remote._service_protocol import use_actions_service
    except ImportError:  # another version of Flyte
        return True
    return use_actions_service()


def _name(request: ReviewRequest, number: int) -> str:
    """The same for the same: an attempt of the task that is made again finds the decision of the one before.

    Generations side by side in a task need names of their own, so what is shown is in it.
    """
    shown = f"{request.prompt}\0{request.version}\0{request.problem}".encode(errors="surrogatepass")
    again = f"-{number}" if number > 1 else ""
    return f"approve-{request.kind}-{request.number}-{hashlib.sha256(shown).hexdigest()[:8]}{again}"


def _numbered(request: ReviewRequest) -> str:
    """As text of which a line can't be taken for a heading or a list; the lines of code are numbered."""
    shown = [f"To be approved: {heading(request)}"]
    for title, text, language in parts(request):
        lines = visible(text).strip("\n").split("\n")
        width = len(str(len(lines)))
        mark = "{number:>{width}} | {line}" if language == "python" else "  | {line}"
        body = "\n".join(mark.format(number=n, width=width, line=line) for n, line in enumerate(lines, 1))
        shown.append(f"{title}:\n{body}")
    return "\n\n".join(shown)
