"""A profile as a Pandera schema: a module that runs, for the model to read and for people to use."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from flyteplugins.codegen.data.profile import Column, Profile

_DTYPES: Final = {"boolean": "boolean", "integer": "Int64", "number": "float64", "text": "string"}
"""pandas types that hold nulls; a type that is not here is left unchecked, as the file declares it itself."""

_READERS: Final = {"csv": "read_csv", "tsv": "read_csv", "parquet": "read_parquet"}


def schema_code(profile: Profile, checks: Mapping[str, Sequence[str]] | None = None) -> str:
    """Write the schema of a profile.

    It states types, nullability and the given checks, never the range of what was seen: the next file may differ.

    Args:
        profile: A profile of a table.
        checks: Keyword arguments and Pandera checks by column, as source, such as `pa.Check.gt(0)` or `unique=True`.

    Returns:
        A module that defines `schema` and `read(path)`.
    """
    lines = [
        f'"""The schema of {_in_docstring(profile.name)}."""',
        "",
        "import pandas as pd",
        "import pandera.pandas as pa",
        "",
        "schema = pa.DataFrameSchema(",
        "    {",
        *(
            f"        {column.name!r}: {_column(column, (checks or {}).get(column.name, ()))},"
            for column in profile.columns
        ),
        "    },",
        "    coerce=True,",
        ")",
        "",
        "",
        "def read(path):",
        f"    return {_reader(profile)}",
    ]
    return "\n".join(lines) + "\n"


def _column(column: Column, checks: Sequence[str]) -> str:
    dtype = repr(_dtype(column))
    keywords = {"nullable": str("nullable=False" not in checks and column.nulls > 0)}
    called = [check for check in checks if check.startswith("pa.Check.")]
    if "unique=True" in checks:
        keywords["unique"] = "True"
    parts = [dtype]
    if called:
        parts.append(f"[{', '.join(called)}]")
    parts += [f"{name}={value}" for name, value in keywords.items()]
    return f"pa.Column({', '.join(parts)})"


def _dtype(column: Column) -> str | None:
    if column.dtype == "datetime" and column.physical.startswith("timestamp["):
        return "datetime64" + column.physical.removeprefix("timestamp").replace("tz=", "")
    return _DTYPES.get(column.dtype)


def _reader(profile: Profile) -> str:
    options = "".join(f", {name}={value!r}" for name, value in profile.read_options)
    if profile.format in _READERS:
        return f"pd.{_READERS[profile.format]}(path{options})"
    lines = ", lines=True" if profile.format == "jsonl" else ""
    dtypes: dict[str, Any] = {
        column.name: _DTYPES[column.dtype] for column in profile.columns if column.dtype in _DTYPES
    }
    return f"pd.read_json(path{lines}, dtype={dtypes!r})"


def _in_docstring(name: str) -> str:
    return json.dumps(name).strip('"').replace("\\", "\\\\").replace('"', "'")
