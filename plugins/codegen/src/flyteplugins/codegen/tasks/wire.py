"""What Flyte's interface of a task has for the types of a contract, and how values get into it and out again.

The sidecar that reads the outputs of a raw container knows simple types, files and folders, and no simple value of
more than 1,024 bytes, and of a text it takes the white space off both ends; the one that stages its inputs writes a
dict in a binary form, and knows no tables. So a text comes out as a file, a JSON document goes in as text and comes out
as a file, and a table goes both ways as a Parquet file. The types here do that wherever Flyte converts a value, on this
machine and on a cluster: callers see what was declared.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

from flyte.io import DataFrame, File
from flyte.types import TypeEngine, TypeTransformer

from flyteplugins.codegen.core import pinned
from flyteplugins.codegen.core.contract import FRAMES, PANDAS, VALUE_TYPES
from flyteplugins.codegen.core.errors import InvalidInputError
from flyteplugins.codegen.core.values import JSON_TYPES, format_value, parse_value
from flyteplugins.codegen.data.samples import take_in_table
from flyteplugins.codegen.tasks.default_inputs import as_default


class DictInput(str):
    """A dict as an input: on the way, a JSON object as text."""

    __slots__ = ()


class ListInput(str):
    """A list as an input: on the way, a JSON array as text."""

    __slots__ = ()


class TableInput(File):
    """A table as an input: on the way, a Parquet file."""


class TextOutput(File):
    """A text as an output: on the way, a file."""


class DictOutput(File):
    """A dict as an output: on the way, a file with a JSON object."""


class ListOutput(File):
    """A list as an output: on the way, a file with a JSON array."""


class TableOutput(File):
    """A table as an output, which becomes a DataFrame of Flyte: on the way, a Parquet file."""


class PandasOutput(File):
    """A table as an output, which becomes a DataFrame of pandas: on the way, a Parquet file."""


_INPUTS: Final[dict[str, Any]] = {
    "dict": DictInput,
    "list": ListInput,
    **dict.fromkeys(FRAMES, TableInput),
}
_OUTPUTS: Final[dict[str, Any]] = {
    "str": TextOutput,
    "dict": DictOutput,
    "list": ListOutput,
    "DataFrame": TableOutput,
    PANDAS: PandasOutput,
}
_FORMATS: Final = {"str": "txt", **dict.fromkeys(JSON_TYPES, "json"), **dict.fromkeys(FRAMES, "parquet")}


def input_type(kind: str) -> Any:
    """The type of an input in Flyte's interface.

    Args:
        kind: Its type in the contract.

    Returns:
        The declared type itself, or what stands for it on the way.
    """
    return _INPUTS.get(kind) or VALUE_TYPES[kind]


def output_type(kind: str) -> Any:
    """The type of an output in Flyte's interface.

    Args:
        kind: Its type in the contract.

    Returns:
        The declared type itself, or what stands for it on the way.
    """
    return _OUTPUTS.get(kind) or VALUE_TYPES[kind]


async def typed(kind: str, value: Any) -> Any:
    """An output as it was declared.

    Args:
        kind: Its type in the contract.
        value: What came of a run, or out of Flyte: a file for a text, a JSON document and a table.

    Returns:
        The value; a DataFrame of Flyte refers to the file.
    """
    if kind == "DataFrame":
        return Table.of(value)
    if kind not in _OUTPUTS:
        return value
    path = Path(value.path.removeprefix("file://"))
    local = path if "://" not in str(value.path) or path.is_absolute() else Path(await value.download())
    if kind == PANDAS:
        import pandas as pd

        return await asyncio.to_thread(pd.read_parquet, local)
    return parse_value((await asyncio.to_thread(local.read_bytes)).decode(), kind)


class Table(DataFrame):
    """A DataFrame of Flyte that refers to a Parquet file, and can be opened outside of a task as well."""

    @classmethod
    def of(cls, file: File) -> Table:
        """The table in a file."""
        return cls(uri=file.path, format=_FORMATS["DataFrame"], hash=file.hash)

    async def all(self) -> Any:
        """The rows, in the type that `open` was told."""
        import pandas as pd
        from pyarrow import Table as ArrowTable
        from pyarrow import parquet

        readers: dict[Any, Any] = {pd.DataFrame: pd.read_parquet, ArrowTable: parquet.read_table}
        path = str(self.uri).removeprefix("file://")
        if "://" in path or self._dataframe_type not in readers:
            return await super().all()
        # Flyte copies a local file to the folder of a run first, and outside of a run there is none.
        return await asyncio.to_thread(readers[self._dataframe_type], path)


class _DocumentInput(TypeTransformer[Any]):
    """A dict or a list as text."""

    def __init__(self, kind: str) -> None:
        super().__init__(name=f"codegen-{kind}-input", t=_INPUTS[kind], enable_type_assertions=False)
        self._kind = kind

    def get_literal_type(self, t: type[Any]) -> Any:
        """Text."""
        return TypeEngine.to_literal_type(str)

    async def to_literal(self, python_val: Any, python_type: type[Any], expected: Any) -> Any:
        """The document; a text is taken for one, as a command line gives it."""
        text = python_val if isinstance(python_val, str) else format_value(python_val)
        parse_value(text, self._kind)
        return await TypeEngine.to_literal(text, str, expected)

    async def to_python_value(self, lv: Any, expected_python_type: type[Any]) -> Any:
        """The dict or the list."""
        return parse_value(await TypeEngine.to_python_value(lv, str), self._kind)


class _ByFile(TypeTransformer[Any]):
    """What is a file on the way."""

    def __init__(self, marker: type[File], kind: str) -> None:
        super().__init__(name=f"codegen-{marker.__name__}", t=marker, enable_type_assertions=False)
        self._kind = kind

    def get_literal_type(self, t: type[Any]) -> Any:
        """A file, with its format."""
        literal_type = TypeEngine.to_literal_type(File)
        literal_type.blob.format = _FORMATS[self._kind]
        return literal_type

    async def to_literal(self, python_val: Any, python_type: type[Any], expected: Any) -> Any:
        """The file of an output."""
        return await TypeEngine.to_literal(python_val, File, expected)

    async def to_python_value(self, lv: Any, expected_python_type: type[Any]) -> Any:
        """What was declared."""
        return await typed(self._kind, await TypeEngine.to_python_value(lv, File))


class _TableInput(_ByFile):
    """A table that becomes a file on its way in."""

    def get_literal_type(self, t: type[Any]) -> Any:
        """A file of any format: those that callers pass say none."""
        return TypeEngine.to_literal_type(File)

    async def to_literal(self, python_val: Any, python_type: type[Any], expected: Any) -> Any:
        """A DataFrame as a file, which is uploaded where a cluster is to read it."""
        if not isinstance(python_val, File):
            try:
                python_val = as_default(await take_in_table(python_val, pinned.store()))
            except InvalidInputError as error:
                raise TypeError(str(error)) from None
        return await super().to_literal(python_val, File, expected)

    async def to_python_value(self, lv: Any, expected_python_type: type[Any]) -> Any:
        """The file: nobody but the sandbox reads it."""
        return await TypeEngine.to_python_value(lv, File)


for _kind in JSON_TYPES:
    TypeEngine.register(_DocumentInput(_kind))
TypeEngine.register(_TableInput(TableInput, "DataFrame"))
for _kind, _marker in _OUTPUTS.items():
    TypeEngine.register(_ByFile(_marker, _kind))
