"""What an error of litellm means: whose fault it is, in words of its own, and whether another try may help."""

from __future__ import annotations

import datetime
import email.utils
import json
import math
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Kind = Literal[
    "busy", "connection", "unreadable", "slow", "tls", "key", "address", "credit", "long", "filtered", "form"
]

PASSING: Final = frozenset({"busy", "connection", "unreadable", "slow"})
"""Kinds that another try may change."""

_READ_CHARACTERS: Final = 1000
"""How much of an error is looked at: it says first what is wrong, and may then quote all that was sent."""

_KINDS: Final[dict[int, Kind]] = {
    401: "key",
    402: "credit",
    403: "key",
    404: "address",
    405: "address",
    408: "busy",
    409: "busy",
    410: "address",
    413: "long",
    425: "busy",
    429: "busy",
    501: "address",
}

_SAYINGS: Final[dict[Kind, tuple[str, ...]]] = {
    "credit": ("insufficient_quota", "credit balance is too low", "billing_hard_limit"),
    "key": ("API_KEY_INVALID", "api key not valid", "invalid api key", "incorrect api key"),
    "long": (
        "context_length_exceeded",
        "request_too_large",
        "request too large",
        "(prompt|inputs?|request) (is|are) too long",
        "(maximum|max) context length",
        "exceeds? the (available |maximum |model'?s? )?context",
        "reduce the length of the (messages|prompt|input)",
    ),
    "filtered": (
        "content_policy_violation",
        "content[ _]filter",
        "content management policy",
        "safety system",
        "input was flagged",
    ),
    # The model would do; this form of an answer it does not know.
    "form": ("no endpoints found that (support|can handle)",),
}
"""What endpoints say, whatever status they say it with; the first that fits."""

_PATTERNS: Final = {kind: re.compile("|".join(sayings), re.IGNORECASE) for kind, sayings in _SAYINGS.items()}

_LITELLM_WORDS = re.compile(
    r"\A(litellm\.\w+: |Timeout Error: |\w+(Error|Exception)( (\w+Error|Timeout))?( - |: ))*"
    r"|\.? Handle with `litellm\.\w+`\.?\Z|For further information (visit|check:) \S+"
)
"""What litellm and pydantic put around the endpoint's own words."""

_TRACEBACK: Final = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Fault:
    """Why a request brought no answer.

    Attributes:
        kind: What sort of fault; those in `PASSING` may pass.
        said: What the endpoint or the connection said, in a line; it may hold secrets still.
        status: The status that the endpoint sent; None where it sent none.
        retry_after: Seconds that the endpoint asks to wait; None where it does not say.
    """

    kind: Kind
    said: str
    status: int | None = None
    retry_after: float | None = None


def fault_of(module: Any, error: Exception) -> Fault:
    """The fault behind an error of litellm.

    Args:
        module: The module litellm.
        error: What it raised.

    Returns:
        The fault.
    """
    causes = list(_causes(error))
    sent = _status_sent(causes)
    # litellm makes up a status of 500 for whatever goes wrong without one.
    status = sent or _number(getattr(error, "status_code", None), 500)
    kind = _kind_said(module, error, " ".join(str(cause)[:_READ_CHARACTERS] for cause in causes[:2]))
    if kind is None and sent is None and (status >= 500 or not _refused_by_a_client(causes[-1])):
        return _unanswered(causes)
    return Fault(
        kind=kind or _KINDS.get(status) or ("busy" if status >= 500 else "form"),
        said=_plain(str(error)),
        status=sent,
        retry_after=_retry_after(getattr(error, "litellm_response_headers", None) or {}),
    )


def _kind_said(module: Any, error: Exception, said: str) -> Kind | None:
    for kind, pattern in _PATTERNS.items():
        if pattern.search(said):
            return kind
    if isinstance(error, module.ContextWindowExceededError):
        return "long"
    if isinstance(error, module.ContentPolicyViolationError):
        return "filtered"
    return None


def _status_sent(causes: list[BaseException]) -> int | None:
    """The status of an error that the endpoint sent; litellm changes some, and makes up others."""
    for cause in causes:
        if type(cause).__name__ == "HTTPStatusError":
            return _number(getattr(getattr(cause, "response", None), "status_code", None), 500)
    return None


def _refused_by_a_client(root: BaseException) -> bool:
    """Whether litellm, or a client under it, would not send the request: an error of its own, with a cause of none."""
    return type(root).__module__.split(".")[0] in {"litellm", "openai"}


def _unanswered(causes: list[BaseException]) -> Fault:
    """The fault where the endpoint sent no status of an error."""
    for cause in reversed(causes):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Fault("tls", f"certificate verify failed: {cause.verify_message}")
        if isinstance(cause, ssl.SSLError):
            return Fault("tls", f"TLS failed: {cause.reason}")
        if isinstance(cause, socket.gaierror):
            return Fault("connection", "its name can't be resolved")
        if isinstance(cause, ConnectionRefusedError):
            return Fault("connection", "connection refused")
        if isinstance(cause, OSError) and type(cause).__module__ == "builtins":
            return Fault("connection", cause.strerror or type(cause).__name__)
    if any(type(cause).__module__ == "httpx" and type(cause).__name__ != "DecodingError" for cause in causes):
        return Fault("connection", "the connection ended before the answer was complete")
    said, root = _plain(str(causes[0])), causes[-1]
    if _TRACEBACK in str(causes[0]):
        said = f"the answer has not the shape of a completion ({type(root).__name__}: {_plain(str(root))})"
    return Fault("unreadable", said)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from, the first cause last."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _plain(text: str) -> str:
    """An error of litellm in a line, without its prefixes and without a traceback."""
    line = " ".join(text.split(_TRACEBACK, 1)[0][: 20 * _READ_CHARACTERS].split())
    return _message(_LITELLM_WORDS.sub("", line)).rstrip(" .:")


def _message(text: str) -> str:
    """The message in an error that is JSON, as Anthropic's are; any other text as it is."""
    try:
        body = json.loads(text)
        return str(body["error"]["message"])
    except (ValueError, TypeError, KeyError):
        return text


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """What the endpoint asks to wait, in seconds: as a number or as a date."""
    given = {name.lower(): value for name, value in headers.items()}
    if "retry-after-ms" in given:
        return _seconds(given["retry-after-ms"], 0.001)
    asked = given.get("retry-after", "")
    seconds = _seconds(asked, 1.0)
    if seconds is None and asked:
        try:
            date = email.utils.parsedate_to_datetime(asked)
        except ValueError:
            return None
        # A date without a zone is in UTC, as HTTP has it.
        date = date if date.tzinfo else date.replace(tzinfo=datetime.timezone.utc)
        return max(0.0, (date - datetime.datetime.now(datetime.timezone.utc)).total_seconds())
    return seconds


def _seconds(text: str, unit: float) -> float | None:
    try:
        seconds = float(text) * unit
    except ValueError:
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _number(value: Any, otherwise: int) -> int:
    try:
        return otherwise if value is None else int(value)
    except (TypeError, ValueError):
        return otherwise
