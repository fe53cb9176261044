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
from flyteidl2.core import literals_pb2, types_pb2

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
        """The rows, in the type that `open` was told; Flyte's own way copies a local file to a run's folder first."""
        from flyte.io._dataframe.dataframe import flyte_dataset_transformer  # it has no public name for its decoders

        if self._dataframe_type is None:
            raise ValueError("Say which type the rows are to have: `await table.open(pandas.DataFrame).all()`.")
        kind = types_pb2.StructuredDatasetType(format=_FORMATS["DataFrame"])
        metadata = literals_pb2.StructuredDatasetMetadata(structured_dataset_type=kind)
        literal = literals_pb2.StructuredDataset(uri=self.uri, metadata=metadata)
        return await flyte_dataset_transformer.open_as(literal, self._dataframe_type, metadata)


class _DocumentInput(TypeTransformer[Any]):
    """A dict or a list as text."""

    def __init__(self, kind: str) -> None:
        super().__init__(name=f"codegen-{kind}-input", t=_INPUTS[kind], enable_type_assertions=False)
        self._kind = kind

    def get_literal_type(self, t: type[Any]) -> types_pb2.LiteralType:
        """Text."""
        return types_pb2.LiteralType(simple=types_pb2.SimpleType.STRING)

    async def to_literal(
        self, python_val: Any, python_type: type[Any], expected: types_pb2.LiteralType
    ) -> literals_pb2.Literal:
        """The document; a text is taken for one, as a command line gives it."""
        text = python_val if isinstance(python_val, str) else format_value(python_val)
        parse_value(text, self._kind)
        primitive = literals_pb2.Primitive(string_value=text)
        return literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=primitive))

    async def to_python_value(self, lv: literals_pb2.Literal, expected_python_type: type[Any]) -> Any:
        """The dict or the list."""
        return parse_value(lv.scalar.primitive.string_value, self._kind)


class _ByFile(TypeTransformer[Any]):
    """What is a file on the way."""

    def __init__(self, marker: type[File], kind: str) -> None:
        super().__init__(name=f"codegen-{marker.__name__}", t=marker, enable_type_assertions=False)
        self._kind = kind

    def get_literal_type(self, t: type[Any]) -> types_pb2.LiteralType:
        """A file, with its format."""
        single = types_pb2.BlobType.BlobDimensionality.SINGLE
        return types_pb2.LiteralType(blob=types_pb2.BlobType(format=_FORMATS[self._kind], dimensionality=single))

    async def to_literal(
        self, python_val: Any, python_type: type[Any], expected: types_pb2.LiteralType
    ) -> literals_pb2.Literal:
        """The file of an output."""
        return await TypeEngine.to_literal(python_val, File, expected)

    async def to_python_value(self, lv: literals_pb2.Literal, expected_python_type: type[Any]) -> Any:
        """What was declared."""
        return await typed(self._kind, await TypeEngine.to_python_value(lv, File))


class _TableInput(_ByFile):
    """A table that becomes a file on its way in."""

    def get_literal_type(self, t: type[Any]) -> types_pb2.LiteralType:
        """A file of any format: those that callers pass say none."""
        return TypeEngine.to_literal_type(File)

    async def to_literal(
        self, python_val: Any, python_type: type[Any], expected: types_pb2.LiteralType
    ) -> literals_pb2.Literal:
        """A DataFrame as a file, which is uploaded where a cluster is to read it."""
        if not isinstance(python_val, File):
            try:
                python_val = as_default(await take_in_table(python_val, pinned.store()))
            except InvalidInputError as error:
                raise TypeError(str(error)) from None
        return await super().to_literal(python_val, File, expected)

    async def to_python_value(self, lv: literals_pb2.Literal, expected_python_type: type[Any]) -> Any:
        """The file: nobody but the sandbox reads it."""
        return await TypeEngine.to_python_value(lv, File)


for _kind in JSON_TYPES:
    TypeEngine.register(_DocumentInput(_kind))
TypeEngine.register(_TableInput(TableInput, "DataFrame"))
for _kind, _marker in _OUTPUTS.items():
    TypeEngine.register(_ByFile(_marker, _kind))
