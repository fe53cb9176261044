"""Asking a language model for a typed answer."""

from flyteplugins.codegen.models.account import Account
from flyteplugins.codegen.models.answers import Answers
from flyteplugins.codegen.models.completion import Completion, Provider, Waits
from flyteplugins.codegen.models.estimate import Estimate, estimate
from flyteplugins.codegen.models.model import Model
from flyteplugins.codegen.models.provider import provider_for
from flyteplugins.codegen.models.step import Message, Step
from flyteplugins.codegen.models.transcript import Transcript, transcript_of

__all__ = [
    "Account",
    "Answers",
    "Completion",
    "Estimate",
    "Message",
    "Model",
    "Provider",
    "Step",
    "Transcript",
    "Waits",
    "estimate",
    "provider_for",
    "transcript_of",
]
