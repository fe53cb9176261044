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
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from flyte.io import File

from flyteplugins.codegen.data.tables import UnreadableTableError, batches, lay_out, open_text

MARK: Final = "<masked>"

_MOST_VALUES: Final = 1_000_000
"""How many distinct values are remembered; with more, no word of the fixed list is trusted either."""

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
        cells: Short hashes of the words that are a whole value of a sample, in lower case.
        complete: Whether all values are in `cells`; if not, no word of the fixed list is trusted.
        known: Texts that the model knows already.
    """

    cells: frozenset[bytes]
    complete: bool
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
        if (frame := _FRAME.fullmatch(line)) and (path := self._path(frame["path"])):
            name = frame["name"]
            shown = f", in {name if name in words or name == '<module>' else MARK}" if name else ""
            return f'{frame["indent"]}File "{path}", line {frame["line"]}{shown}'
        if (place := _PYTEST_PLACE.fullmatch(bare)) and (path := self._path(place["path"])):
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
        if token in words or (token in _EXCEPTIONS and not self._is_cell(token)):
            return token
        lower = token.lower()
        if self.complete and lower in _words() and not self._is_cell(token):
            return token
        return MARK

    def _is_cell(self, token: str) -> bool:
        return _hash(token) in self.cells

    def _path(self, path: str) -> str | None:
        """A path as it may be shown; None for what is no file of code."""
        pure = PurePosixPath(path)
        if path in {"<string>", "<stdin>"}:
            return path
        if not re.fullmatch(r"[A-Za-z_]\w*\.py", pure.name) or self._is_cell(pure.stem):
            return None
        library = {"site-packages", "dist-packages"} & set(pure.parts)
        return pure.as_posix() if library and re.fullmatch(r"[\w./+-]+", path) else pure.name


def _is_rule(bare: str) -> bool:
    return not any(character.isalnum() for character in bare)


_EXCEPTIONS: Final = frozenset(
    name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)
) | {
    "EmptyDataError",
    "ParserError",
    "ArrowInvalid",
    "ArrowTypeError",
    "MergeError",
    "E",
    "Traceback",
    "FAILED",
    "ERROR",
}


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.lower().encode(errors="surrogatepass"), digest_size=8).digest()


def _collect(paths: list[Path], known: tuple[str, ...]) -> Redactor:
    cells: set[bytes] = set()
    for path in paths:
        if not _collect_file(path, cells):
            return Redactor(frozenset(cells), complete=False, known=known)
    return Redactor(frozenset(cells), complete=True, known=known)


def _collect_file(path: Path, cells: set[bytes]) -> bool:
    """Add the words of a file; False where they are too many or can't be read."""
    try:
        layout = lay_out(path)
        if layout.tabular:
            for arrays in batches(layout):
                for array in arrays:
                    for value in array.unique().to_pylist():
                        if not _add(str(value), cells):
                            return False
            return True
        if layout.format in {"text", "json"}:
            with open_text(layout) as file:
                return all(_add(word, cells) for line in file for word in _TOKEN.findall(line))
    except UnreadableTableError:
        return False
    return False


def _add(value: str, cells: set[bytes]) -> bool:
    """Remember a value; one of several words only if all of them would else be trusted."""
    words = _TOKEN.findall(value)
    if len(words) == 1 or all(word.lower() in _words() for word in words):
        cells.update(_hash(word) for word in words if not word.isdigit())
    return len(cells) <= _MOST_VALUES


@functools.cache
def _words() -> frozenset[str]:
    """Words of the error messages of Python, pandas, pyarrow and pytest: they are printed whatever the data is."""
    return frozenset(Path(__file__).with_name("error_words.txt").read_text(encoding="utf-8").split())
