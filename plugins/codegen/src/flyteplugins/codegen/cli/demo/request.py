"""What the demo asks, as plain data: the command replays a recording of it, and a recording is made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final


@dataclass(frozen=True)
class NamedRequest:
    """The arguments of a `generate()` call, with types by name and samples by path.

    Attributes:
        name: Name of the agent, and of the recording.
        prompt: The request.
        samples: Sample files by input name.
        inputs: Type name by input that has no sample.
        outputs: Type name by output.
        constraints: Rules in the user's words.
        schema: Formats in the user's words, or None.
    """

    name: str
    prompt: str
    samples: Mapping[str, Path]
    outputs: Mapping[str, str]
    inputs: Mapping[str, str] = field(default_factory=dict)
    constraints: tuple[str, ...] = ()
    schema: str | None = None


DATA: Final = Path(__file__).parent / "data"
RECORDING: Final = Path(__file__).parent / "recording.jsonl"
"""A transcript of the request below; `replay:` plays it."""

OUTPUT: Final = "lookalike_audience_scored"
USER, SCORE, GROUP = "user_id", "similarity_score", "group"
TARGET, HOLDOUT = "target", "holdout"

LOOKALIKE: Final = NamedRequest(
    name="lookalike-audience",
    prompt=(
        "Build a lookalike audience from seed list high_value_q1.csv. Use purchase frequency, average order value, "
        "and days since last purchase as features. Score all users in the user_features table. Output the top 10% as "
        "the target audience with a 20% holdout group. Write results to lookalike_audience_scored.parquet."
    ),
    samples={"seed": DATA / "high_value_q1.csv", "user_features": DATA / "user_features.parquet"},
    outputs={OUTPUT: "File"},
    constraints=(
        "The audience has exactly 10% of the rows of user_features, users with missing features counted too",
        "Exactly 20% of the audience is in the holdout group",
        "The same inputs always give the same audience and the same holdout group",
    ),
    schema=(
        f"{OUTPUT} is a Parquet file with one row for each user of the audience, the most similar first:\n"
        f"  {USER}: string, as in user_features\n"
        f"  {SCORE}: float, higher is more similar to the seed list\n"
        f"  {GROUP}: string, '{HOLDOUT}' for the users that are held out, '{TARGET}' for all others\n"
    ),
)
