"""Recorded follow-up requests, replayed on the recorded generation that they were made for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from record import replayed
from recorded_requests import EU_ONLY, FOLLOW_UPS, PER_COUNTRY, RECORDINGS

from flyteplugins.codegen import AutoCoderAgent, CodeGenEvalResult
from flyteplugins.codegen.cli.demo.request import DATA, GROUP, HOLDOUT, LOOKALIKE, SCORE, USER

pytestmark = pytest.mark.isolation

EU = {"DE", "ES", "FR", "IT", "NL", "PL", "SE"}
"""The countries of the EU that the data has; it has no other."""


def revised(before: CodeGenEvalResult, name: str) -> CodeGenEvalResult:
    agent = AutoCoderAgent(name=name, model=f"replay:{RECORDINGS / name}.jsonl")
    result = before.revise(FOLLOW_UPS[name].prompt, agent=agent)
    assert result.success, result.error
    return result


@pytest.fixture(scope="module")
def audience_of() -> dict[str, CodeGenEvalResult]:
    """The recorded generation and both revisions, each of the one before, by name."""
    base = replayed(LOOKALIKE.name)
    per_country = revised(base, PER_COUNTRY.name)
    return {
        LOOKALIKE.name: base,
        PER_COUNTRY.name: per_country,
        EU_ONLY.name: revised(per_country, EU_ONLY.name),
    }


def audience(result: CodeGenEvalResult) -> pd.DataFrame:
    """The output on the samples, with the country of each user."""
    found: pd.DataFrame = pd.read_parquet(Path(result.run().path))
    assert list(found.columns) == [USER, SCORE, GROUP]
    users = pd.read_parquet(DATA / "user_features.parquet")
    return found.assign(country=found[USER].map(dict(zip(users[USER], users["country"].fillna(""), strict=True))))


@pytest.mark.parametrize("name", [PER_COUNTRY.name, EU_ONLY.name])
def test_each_country_has_a_fifth_of_its_users_held_out_and_the_whole_has_exactly_a_fifth(
    audience_of: dict[str, CodeGenEvalResult], name: str
) -> None:
    found = audience(audience_of[name])
    assert len(found) == 400
    assert (found[GROUP] == HOLDOUT).sum() == 80
    users, held_out = Counter(found["country"]), Counter(found.loc[found[GROUP] == HOLDOUT, "country"])
    assert all(abs(held_out[country] - number / 5) < 1 for country, number in users.items()), (users, held_out)


def test_a_holdout_group_per_country_changes_nothing_of_who_is_in_the_audience(
    audience_of: dict[str, CodeGenEvalResult],
) -> None:
    before, after = (audience(audience_of[name]) for name in (LOOKALIKE.name, PER_COUNTRY.name))
    assert before[[USER, SCORE]].equals(after[[USER, SCORE]])
    assert not before[GROUP].equals(after[GROUP])


def test_the_eu_segment_has_the_same_scores_and_the_places_of_the_others_go_to_the_next(
    audience_of: dict[str, CodeGenEvalResult],
) -> None:
    before, after = (audience(audience_of[name]) for name in (PER_COUNTRY.name, EU_ONLY.name))
    assert set(before["country"]) > set(after["country"])
    assert set(after["country"]) <= EU
    staying = before[before["country"].isin(EU)]
    assert after.head(len(staying))[[USER, SCORE]].to_numpy().tolist() == staying[[USER, SCORE]].to_numpy().tolist()


def test_both_revisions_say_which_tests_were_kept_and_what_ended_the_others(
    audience_of: dict[str, CodeGenEvalResult],
) -> None:
    first, second = audience_of[EU_ONLY.name].revisions
    assert [first.prompt, second.prompt] == [PER_COUNTRY.prompt, EU_ONLY.prompt]
    assert (len(first.kept), len(second.kept)) == (7, 8)
    assert [len(revision.dropped) for revision in (first, second)] == [1, 3]
    for revision in (first, second):
        assert all(
            f'"{revision.prompt}"' in dropped.reason or "country" in dropped.reason for dropped in revision.dropped
        )
        assert revision.added
    assert set(first.added) & {dropped.name for dropped in second.dropped}
