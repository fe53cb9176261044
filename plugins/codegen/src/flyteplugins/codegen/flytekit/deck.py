"""The report of a generation as a `Deck` of the flytekit task that it was started in."""

from __future__ import annotations

from typing import Final

from flyteplugins.codegen.core.result import CodeGenEvalResult

NAME: Final = "Code generation"


def show(result: CodeGenEvalResult) -> None:
    """Add the report to the decks of the task that runs; nothing outside of one, or where it has none.

    Args:
        result: What a generation handed back.
    """
    from flytekit import Deck, current_context

    from flyteplugins.codegen.report import html

    parameters = current_context()
    if parameters is None or not parameters.enable_deck:
        return
    taken = {deck.name for deck in parameters.decks}
    name, number = NAME, 1
    while name in taken:
        number += 1
        name = f"{NAME} {number}"
    # All decks are parts of one page, in which an anchor stands for one place.
    shown = html.fragment(result, light=True, anchors=name.lower().replace(" ", "-"))
    Deck(name, f"<style>{html.stylesheet()}</style>\n{shown}")
