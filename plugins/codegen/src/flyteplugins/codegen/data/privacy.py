"""What a program printed, without the values of the samples: everything is masked that is not known.

With `sample_privacy="schema"` the model may see names, types and counts. What a run prints may hold any value, also
one derived from the data (a sum, a part of a name), so nothing is searched for: only what is known to come from
elsewhere stays. That is the code and the tests that the model wrote, the request, the column names, the frames of a
traceback, the names of exceptions and a fixed list of words of error messages. All other words and all numbers
become a mark.

What this can't stop is a program that was written to smuggle values out, for example through the number of its
lines of output.
"""

from __future__ import annotations

import asyncio
import builtins
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from flyte.io import File

from flyteplugins.codegen.data.tables import UnreadableTableError, batches, lay_out, open_text

if TYPE_CHECKING:
    import pyarrow as pa

MARK: Final = "<masked>"

_FRAME: Final = re.compile(r"(?P<indent>\s*)File \"(?P<path>[^\"\n]*)\", line (?P<line>\d+)(?:, in (?P<name>\S+))?")
_PYTEST_PLACE: Final = re.compile(r"(?P<path>[\w./-]+\.py):(?P<line>\d+):(?P<rest>.*)")
_PYTEST_COUNTS: Final = re.compile(
    r"=*\s*(?:\d+ (?:failed|passed|errors?|skipped|warnings?|deselected)(?:, )?)+ in [\d.]+s(?: \([\d:]+\))?\s*=*"
)
_TOKEN: Final = re.compile(r"[^\W\d]\w*|\w+")
_QUOTE: Final = re.compile(r"(?P<quote>['\"`])(?P<inside>(?:(?!(?P=quote)).){1,200})(?P=quote)")
_NUMBER: Final = re.compile(r"[+-]?\d[\d_]*(?:[.,:/-]?\d+)*(?:[eE][+-]?\d+)?")


async def redactor(samples: Mapping[str, File], known: Iterable[str] = ()) -> Redactor:
    """Read all samples and remember which words are values of them.

    Args:
        samples: The stored samples by name.
        known: Texts that hold for the whole generation, such as the request and the text about the samples.

    Returns:
        A function of a text that masks it.
    """
    return await asyncio.to_thread(_collect, [Path(file.path) for file in samples.values()], tuple(known))


@dataclass(frozen=True)
class Redactor:
    """Masks what a run printed. Made once for the samples of a generation.

    Attributes:
        trusted: Words that stay wherever they stand: those of error messages, less those that are values of a sample.
        known: Texts that the model knows already.
    """

    trusted: frozenset[str]
    known: tuple[str, ...] = ()

    def __call__(self, text: str, known: Iterable[str] = ()) -> str:
        """Mask everything that is not known to come from elsewhere than the data.

        Args:
            text: Output of a run, such as a traceback or the report of a test run.
            known: What the model also knows or wrote already, such as the code and the tests. Lines of it stay word
                for word, and so do its words (not its numbers) elsewhere.

        Returns:
            The text, with as many lines as before.
        """
        sources = [*self.known, *known]
        lines = {line.strip() for source in sources for line in source.splitlines()} - {""}
        words = {word for source in sources for word in _TOKEN.findall(source)}
        quoted = {match["inside"] for source in sources for match in _QUOTE.finditer(source)}
        return "\n".join(self._line(line, lines, words, quoted) for line in text.splitlines())

    def _line(self, line: str, lines: set[str], words: set[str], quoted: set[str]) -> str:
        bare = line.strip()
        if not bare or bare in lines or bare.removeprefix(">").strip() in lines or _is_rule(bare):
            return line
        if _PYTEST_COUNTS.fullmatch(bare):
            return line
        if (frame := _FRAME.fullmatch(line)) and (path := self._path(frame["path"], words)):
            name = frame["name"]
            shown = f", in {name if name in words or name == '<module>' else MARK}" if name else ""
            return f'{frame["indent"]}File "{path}", line {frame["line"]}{shown}'
        if (place := _PYTEST_PLACE.fullmatch(bare)) and (path := self._path(place["path"], words)):
            return f"{path}:{place['line']}:{self._words(place['rest'], words, quoted)}"
        return self._words(line, words, quoted)

    def _words(self, line: str, words: set[str], quoted: set[str]) -> str:
        out: list[str] = []
        position = 0
        for match in _QUOTE.finditer(line):
            out.append(self._tokens(line[position : match.start()], words))
            inside = match["inside"] if match["inside"] in quoted | words else MARK
            out.append(f"{match['quote']}{inside}{match['quote']}")
            position = match.end()
        out.append(self._tokens(line[position:], words))
        return "".join(out)

    def _tokens(self, text: str, words: set[str]) -> str:
        text = _NUMBER.sub(MARK, text) if not text.isspace() else text
        pieces = text.split(MARK)
        masked = [_TOKEN.sub(lambda match: self._token(match[0], words), piece) for piece in pieces]
        return MARK.join(masked)

    def _token(self, token: str, words: set[str]) -> str:
        return token if token in words or self._trusts(token) else MARK

    def _trusts(self, token: str) -> bool:
        return token in self.trusted or token.lower() in self.trusted

    def _path(self, path: str, words: set[str]) -> str | None:
        """A path as it may be shown; None for what is no file of code."""
        pure = PurePosixPath(path)
        if path in {"<string>", "<stdin>"}:
            return path
        library = any(part in {"site-packages", "dist-packages"} or part.startswith("python3") for part in pure.parts)
        if library and re.fullmatch(r"[\w./+-]+", path):
            return path
        ours = pure.suffix == ".py" and (pure.stem in words or self._trusts(pure.stem))
        return pure.name if ours else None


def _is_rule(bare: str) -> bool:
    return not any(character.isalnum() for character in bare)


def _collect(paths: list[Path], known: tuple[str, ...]) -> Redactor:
    trusted = _words()
    values: set[str] = set()
    try:
        for path in paths:
            for texts in _texts(path):
                values |= _trusted_words(texts, trusted)
    except UnreadableTableError:
        # Which words are values is not known: none is trusted.
        return Redactor(frozenset(), known)
    return Redactor(frozenset(word for word in trusted if word.lower() not in values), known)


def _texts(path: Path) -> Iterator[pa.Array]:
    """The different texts of a file, in batches."""
    import pyarrow as pa

    layout = lay_out(path)
    if layout.tabular:
        for arrays in batches(layout):
            for array in arrays:
                different = array.unique().drop_null()
                text = different if pa.types.is_string(array.type) else pa.array(map(str, different.to_pylist()))
                yield text.cast(pa.string())
    elif layout.format in {"text", "json"}:
        with open_text(layout) as file:
            while lines := file.readlines(1 << 20):
                yield pa.array({word for line in lines for word in _TOKEN.findall(line)}, pa.string())
    else:
        raise UnreadableTableError(f"the values of {layout.format} are not known")


def _trusted_words(texts: pa.Array, trusted: frozenset[str]) -> set[str]:
    """The words of those texts that consist of trusted words alone: any other has a word that is masked anyway."""
    from pyarrow import compute

    plain = texts.filter(compute.match_substring_regex(texts, r"^[A-Za-z_\s[:punct:]]{1,200}$"))
    found: set[str] = set()
    lower = {word.lower() for word in trusted}
    for text in plain.to_pylist():
        words = {word.lower() for word in _TOKEN.findall(text)}
        if words <= lower:
            found |= words
    return found


@functools.cache
def _words() -> frozenset[str]:
    """Words of the error messages of Python, pandas, pyarrow and pytest: they are printed whatever the data is."""
    listed = Path(__file__).with_name("error_words.txt").read_text(encoding="utf-8").split()
    exceptions = {
        name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)
    }
    return frozenset(listed) | exceptions
