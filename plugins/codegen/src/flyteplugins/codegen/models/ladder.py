"""Which form of asking suits a model at an endpoint: tried, seen, and remembered from one process to the next."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from flyteplugins.codegen.core.files import write_atomically
from flyteplugins.codegen.core.paths import home
from flyteplugins.codegen.models.answer import fields_of_code
from flyteplugins.codegen.models.completion import CUT_OFF, FORMS, REFUSED
from flyteplugins.codegen.models.fenced import fenced_blocks, without_thinking
from flyteplugins.codegen.models.json_text import json_objects, mended
from flyteplugins.codegen.models.schema import code_paths
from flyteplugins.codegen.models.source import parses, says_nothing
from flyteplugins.codegen.record import key_of

_TEXT: Final = FORMS.index("text")

_PATIENCE: Final = 2
"""How many answers that do not keep to a form it takes to leave it."""

_REMEMBERED_SECONDS: Final = 30 * 86_400
"""How long what was seen of an endpoint counts: servers are updated, and the stricter forms are worth another try."""

Flaw = Literal["ignored", "broken", "cut off"]
"""What an answer did to its form: it is no JSON; it or the code in it does not parse; it has code and is cut off."""


@dataclass(frozen=True)
class Seen:
    """What is known of a model at an endpoint.

    Attributes:
        form: The first of `FORMS` that is worth a try, by its place.
        code_form: The same for answers with code in them, which suffer more in JSON.
        left_out: Parameters that it does not take.
    """

    form: int = 0
    code_form: int = 0
    left_out: tuple[str, ...] = ()

    def and_also(self, other: Seen) -> Seen:
        """What both know."""
        return Seen(
            max(self.form, other.form),
            max(self.code_form, other.code_form),
            tuple(sorted({*self.left_out, *other.left_out})),
        )


class Ladder:
    """The forms of asking one model at one endpoint, the strictest first; a form that fails is not tried again.

    What is seen is a fact about the endpoint: it is shared through a small file with whoever else asks it, and what
    does not keep to a form counts for this object alone until it is enough to leave the form.

    Args:
        identity: The model and its address: `identity.identity_of`.
    """

    def __init__(self, identity: Mapping[str, Any]) -> None:
        self._of = {"model": identity["model"], "api_base": identity["api_base"]}
        self._seen = Seen()
        self._here = Seen()
        self._flaws: Counter[tuple[int, Flaw]] = Counter()

    async def recall(self) -> None:
        """Take in what others have seen meanwhile."""
        self._seen = self._seen.and_also(await asyncio.to_thread(self._read))

    @property
    def left_out(self) -> tuple[str, ...]:
        """Parameters that the model does not take."""
        return self._seen.left_out

    async def leave_out(self, parameter: str) -> None:
        """Remember that the model does not take a parameter."""
        await self._remember(Seen(left_out=(parameter,)))

    def forms(self, schema: dict[str, Any]) -> Iterator[str]:
        """The forms that are worth a try for an answer, in their order."""
        yield from FORMS[self._first(schema) :]

    async def took(self, form: str, schema: dict[str, Any]) -> None:
        """Remember that the endpoint took a request in this form, and refused those in the forms before it."""
        if (place := FORMS.index(form)) > self._first(schema):
            await self._remember(Seen(place, place))

    async def answered(
        self, form: str, schema: dict[str, Any], text: str, finish_reason: str, before: Sequence[str] = ()
    ) -> bool:
        """Look at how an answer kept to its form.

        Args:
            form: The form that it was asked for in.
            schema: JSON schema of the answer, as pydantic makes it.
            text: What the model wrote.
            finish_reason: Why it ended.
            before: The unusable answers to the same question; they may have come from the record, unseen.

        Returns:
            Whether the next answer like this is to be asked for in another form.
        """
        place, has_code = FORMS.index(form), bool(code_paths(schema))
        if place == _TEXT or finish_reason in REFUSED:
            return False
        flaw: Flaw | None = None
        if finish_reason != CUT_OFF:
            flaw = flaw_of(text, schema)
        elif has_code:
            flaw = "cut off"
        if flaw:
            told = sum(flaw in {"cut off", flaw_of(earlier, schema)} for earlier in before)
            self._flaws[place, flaw] = max(self._flaws[place, flaw], told) + 1
            if self._flaws[place, flaw] >= _PATIENCE:
                await self._learn(place, flaw, has_code=has_code)
        return self._first(schema) > place

    async def _learn(self, place: int, flaw: Flaw, *, has_code: bool) -> None:
        if flaw == "cut off":
            # A text can be continued. That is a matter of this request and of max_tokens, and no fact of the endpoint.
            self._here = Seen(code_form=_TEXT)
        elif flaw == "broken" and has_code:
            await self._remember(Seen(code_form=_TEXT))
        else:
            await self._remember(Seen(place + 1, place + 1))

    def _first(self, schema: dict[str, Any]) -> int:
        seen = self._seen.and_also(self._here)
        return max(seen.form, seen.code_form if code_paths(schema) else 0)

    async def _remember(self, seen: Seen) -> None:
        self._seen = self._seen.and_also(seen)
        await asyncio.to_thread(self._write)

    @property
    def _path(self) -> Path:
        return home() / "endpoints" / f"{key_of(self._of)[:32]}.json"

    def _read(self) -> Seen:
        try:
            known = json.loads(self._path.read_bytes())
            if time.time() - float(known["at"]) > _REMEMBERED_SECONDS:
                return Seen()
            left_out = tuple(str(name) for name in known["left_out"])
            return Seen(FORMS.index(known["form"]), FORMS.index(known["code_form"]), left_out)
        except (OSError, ValueError, KeyError, TypeError):
            return Seen()

    def _write(self) -> None:
        seen = self._seen.and_also(self._read())
        known = {
            **self._of,
            "form": FORMS[seen.form],
            "code_form": FORMS[seen.code_form],
            "left_out": seen.left_out,
            "at": round(time.time()),
        }
        # Where it can't be written the next process finds out for itself.
        with contextlib.suppress(OSError):
            write_atomically(self._path, json.dumps(known, indent=1).encode())


def flaw_of(text: str, schema: dict[str, Any]) -> Flaw | None:
    """What an answer did to a form that is JSON.

    Args:
        text: What the model wrote.
        schema: JSON schema of the answer, as pydantic makes it.

    Returns:
        The flaw; None for JSON that can be read, with code that is some.
    """
    body = without_thinking(text)
    objects = json_objects(body) or json_objects(mended(body))
    if not objects:
        begun = body.lstrip().startswith(("{", "```json"))
        in_blocks = bool(code_paths(schema)) and any(block.is_python for block in fenced_blocks(body))
        return "broken" if begun or in_blocks else "ignored"
    longest = max(objects, key=lambda found: found.end - found.start).value
    codes = [_bare(code) for code in fields_of_code(longest, schema)]
    return None if all(parses(code) and not says_nothing(code) for code in codes if code) else "broken"


def _bare(code: str) -> str:
    blocks = fenced_blocks(code)
    return blocks[0].text if code.lstrip().startswith("```") and blocks else code
