"""The tasks between what is declared and what a raw container of Flyte 1 carries; see `ports`.

Plain `@task`s: in a workflow each is a node beside the container's, on the project's own image.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pandas as pd
from flytekit import current_context, task
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile
from flytekit.types.structured import StructuredDataset

from flyteplugins.codegen.core import pinned
from flyteplugins.codegen.core.sync import BoundTwoFaced
from flyteplugins.codegen.core.values import format_value, parse_value
from flyteplugins.codegen.data.samples import take_in_table
from flyteplugins.codegen.flytekit.convert import frame_in


@task  # type: ignore[untyped-decorator] # flytekit has no types
def parquet_of(table: StructuredDataset) -> FlyteFile:
    """A table as a Parquet file. An index that is not the default one becomes columns."""
    return FlyteFile(BoundTwoFaced(take_in_table)(frame_in(table), pinned.store(), "table").path)


@task  # type: ignore[untyped-decorator] # flytekit has no types
def dataset_of(file: FlyteFile) -> StructuredDataset:
    """The table in a Parquet file."""
    return StructuredDataset(dataframe=pd.read_parquet(file.download()))


@task  # type: ignore[untyped-decorator] # flytekit has no types
def frame_of(file: FlyteFile) -> pd.DataFrame:
    """The table in a Parquet file, as a DataFrame of pandas."""
    return pd.read_parquet(file.download())


@task  # type: ignore[untyped-decorator] # flytekit has no types
def json_of(document: dict) -> str:  # type: ignore[type-arg] # so flytekit knows it
    """A dict as JSON."""
    return format_value(document)


@task  # type: ignore[untyped-decorator] # flytekit has no types
def dict_of(file: FlyteFile) -> dict:  # type: ignore[type-arg] # so flytekit knows it
    """The JSON object in a file."""
    return parse_value(Path(file.download()).read_text(encoding="utf-8"), "dict")  # type: ignore[return-value]  # a JSON object


@task  # type: ignore[untyped-decorator] # flytekit has no types
def text_of(file: FlyteFile) -> str:
    """The JSON array in a file, as text: flytekit has no type for a list of anything."""
    return format_value(parse_value(Path(file.download()).read_text(encoding="utf-8"), "list"))


@task  # type: ignore[untyped-decorator] # flytekit has no types
def folder_of(files: list[FlyteFile]) -> FlyteDirectory:
    """Files as a folder of folders, `0`, `1` and so on; each has one file, under its own name."""
    folder = Path(tempfile.mkdtemp(dir=current_context().working_directory))
    for number, file in enumerate(files):
        path = Path(file.download())
        place = folder / str(number)
        place.mkdir(parents=True)
        shutil.copyfile(path, place / path.name)
    return FlyteDirectory(str(folder))


def in_order(folder: Path) -> list[Path]:
    """The files that `folder_of` put into a folder."""
    return [next(place.iterdir()) for place in sorted(folder.iterdir(), key=lambda place: int(place.name))]
