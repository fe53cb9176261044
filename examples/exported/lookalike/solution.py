# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "numpy==2.4.6",
#     "pandas==3.1.1",
#     "pyarrow==26.0.1",
# ]
# ///

"""Lookalike audience: the users of a feature table most similar to a seed list."""

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

USER_ID = "user_id"
PURCH_FREQ = "purch_freq"            # "purchase frequency"
AVG_OV = "avg_ov"                    # "average order value"
DAYS_LAST_PURCH = "days_last_purch"  # "days since last purchase"
FEATURES = [PURCH_FREQ, AVG_OV, DAYS_LAST_PURCH]

OUTPUT = "lookalike_audience_scored"


def check_table(table: pd.DataFrame, columns: list[str], path: str) -> None:
    """End with an error if a column is missing or the table has no rows."""
    for column in columns:
        if column not in table.columns:
            raise ValueError(f"column '{column}' is missing from {path}")
    if table.empty:
        raise ValueError(f"file {path} has no rows")


def read_seed_ids(path: str) -> list[str]:
    """Return the distinct seed ids without surrounding white space, sorted."""
    try:
        # Everything as text and no guessing of missing values, so that ids
        # such as "007" or "NA" stay what they are.
        seed = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise ValueError(f"file {path} can't be read as CSV: {error}") from error
    check_table(seed, [USER_ID], path)
    # Empty ids are ignored; duplicates count once.
    return sorted({user_id.strip() for user_id in seed[USER_ID]} - {""})


def read_user_features(path: str) -> pd.DataFrame:
    """Return user_id, its stripped form `match_id` and the features, sorted by user_id."""
    try:
        table = pd.read_parquet(path, engine="pyarrow")
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ValueError(f"file {path} can't be read as Parquet: {error}") from error
    check_table(table, [USER_ID, *FEATURES], path)

    if table[USER_ID].isna().any():
        raise ValueError(f"column '{USER_ID}' has missing values in {path}")
    ids = table[USER_ID].astype(str)
    users = pd.DataFrame({USER_ID: ids.to_numpy(dtype=object)})
    users["match_id"] = [user_id.strip() for user_id in users[USER_ID]]
    if (users["match_id"] == "").any():
        raise ValueError(f"column '{USER_ID}' has empty values in {path}")
    duplicated = users["match_id"].duplicated()
    if duplicated.any():
        example = users.loc[duplicated, "match_id"].iloc[0]
        raise ValueError(f"column '{USER_ID}' has {example!r} more than once in {path}")

    for column in FEATURES:
        users[column] = feature_values(table[column], column, path)
    # The ids are distinct: the order of the input's rows has no influence.
    return users.sort_values(USER_ID, kind="stable").reset_index(drop=True)


def feature_values(values: pd.Series, column: str, path: str) -> np.ndarray:
    """Return a feature as floats; values that can't be right become missing (NaN)."""
    if values.isna().all():
        raise ValueError(f"column '{column}' has no values in {path}")
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        raise ValueError(f"column '{column}' is not numeric in {path}")
    numbers = values.to_numpy(dtype="float64", na_value=np.nan)
    # Infinite and negative values are no frequencies, amounts or days: they
    # count as missing.
    numbers = np.where(np.isfinite(numbers) & (numbers >= 0), numbers, np.nan)
    if np.isnan(numbers).all():
        raise ValueError(f"column '{column}' has no usable values in {path}")
    return numbers


def fill_missing(features: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fill missing features; return them and a mask of what the median filled.

    Nobody is dropped. A user who never bought (purch_freq 0) has no order value
    and is as inactive as anyone: avg_ov 0 and the largest days_last_purch. All
    other missing values get the median of their column.
    """
    medians = features.median()
    longest = features[DAYS_LAST_PURCH].max()

    filled = features.copy()
    never_bought = features[PURCH_FREQ] == 0
    filled.loc[never_bought & features[AVG_OV].isna(), AVG_OV] = 0.0
    filled.loc[never_bought & features[DAYS_LAST_PURCH].isna(), DAYS_LAST_PURCH] = longest

    by_median = filled.isna()
    return filled.fillna(medians), by_median


def standardise(features: pd.DataFrame) -> pd.DataFrame:
    """Return log1p of the features, with mean 0 and standard deviation 1."""
    logs = np.log1p(features)
    deviations = logs.std(ddof=0)
    # A constant feature can't tell users apart; it must not divide by zero.
    return (logs - logs.mean()) / deviations.where(deviations > 0, 1.0)


def seed_centre(scaled: pd.DataFrame, by_median: pd.DataFrame, is_seed: pd.Series) -> pd.Series:
    """Return the mean of each feature over the seed users."""
    # Values that are only the median of all users say nothing about the seed:
    # they are left out here.
    centre = scaled[is_seed].mask(by_median[is_seed]).mean()
    for column in FEATURES:
        if np.isnan(centre[column]):
            raise ValueError(f"column '{column}' has no value for any user of the seed")
    return centre


def score_users(users: pd.DataFrame, seed_ids: list[str]) -> np.ndarray:
    """Return the similarity of each user to the seed, in (0, 1]."""
    is_seed = users["match_id"].isin(seed_ids)
    matched = int(is_seed.sum())
    if matched == 0:
        raise ValueError(f"no {USER_ID} of the seed is in user_features")
    if matched < len(seed_ids):
        print(
            f"warning: {len(seed_ids) - matched} of {len(seed_ids)} seed users "
            "are not in user_features; they are ignored",
            file=sys.stderr,
        )
    filled, by_median = fill_missing(users[FEATURES])
    scaled = standardise(filled)
    centre = seed_centre(scaled, by_median, is_seed)
    distance = np.sqrt(((scaled - centre) ** 2).sum(axis=1).to_numpy())
    # Rounded, so that noise in the last digits decides no rank.
    return np.round(1.0 / (1.0 + distance), 9)


def holdout_order(user_id: str) -> tuple[str, str]:
    """Return a sort key that is fixed for a user and unrelated to the score."""
    digest = hashlib.sha256(f"holdout:{user_id}".encode("utf-8")).hexdigest()
    return digest, user_id


def build_audience(users: pd.DataFrame, scores: np.ndarray) -> pd.DataFrame:
    """Return the top 10% of the users, 20% of them in the holdout group."""
    row_count = len(users)
    # Nearest whole numbers in integer arithmetic, halves up.
    audience_size = max(1, (row_count + 5) // 10)
    holdout_size = (2 * audience_size + 5) // 10

    ranked = pd.DataFrame({USER_ID: users[USER_ID], "similarity_score": scores})
    ranked = ranked.sort_values(
        ["similarity_score", USER_ID], ascending=[False, True], kind="stable"
    )
    audience = ranked.head(audience_size).reset_index(drop=True)

    held_out = set(sorted(audience[USER_ID], key=holdout_order)[:holdout_size])
    audience["group"] = [
        "holdout" if user_id in held_out else "target" for user_id in audience[USER_ID]
    ]

    if len(audience) != audience_size or (audience["group"] == "holdout").sum() != holdout_size:
        raise ValueError("the audience or its holdout group has not the planned size")
    return audience


def write_audience(audience: pd.DataFrame, folder: str) -> None:
    """Write the audience as the Parquet file <folder>/lookalike_audience_scored."""
    directory = Path(folder)
    directory.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            USER_ID: pa.array(audience[USER_ID].tolist(), type=pa.string()),
            "similarity_score": pa.array(
                audience["similarity_score"].tolist(), type=pa.float64()
            ),
            "group": pa.array(audience["group"].tolist(), type=pa.string()),
        }
    )
    pq.write_table(table, directory / OUTPUT)


def main() -> int:
    """Parse the arguments, build the audience and write it."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--seed", required=True, help="CSV file of seed users")
    parser.add_argument("--user_features", required=True, help="Parquet file of all users")
    parser.add_argument("--outputs", default="/var/outputs", help="folder for the outputs")
    args = parser.parse_args()

    try:
        seed_ids = read_seed_ids(args.seed)
        users = read_user_features(args.user_features)
        audience = build_audience(users, score_users(users, seed_ids))
        write_audience(audience, args.outputs)
    except (OSError, ValueError, pa.ArrowException) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
