"""Every error of this package, by whose it is.

    CodegenError
    ├── UserError                    (*) the request or the settings are wrong: nothing was paid for
    │   ├── InvalidRequestError      (ValueError) prompt, names, types, samples, settings
    │   ├── InvalidInputError        (ValueError) a value passed to run() or to the task
    │   ├── MissingCredentialError   (LookupError) a key or secret that was named is not there
    │   ├── SandboxUnavailableError  (RuntimeError) no runtime here can run untrusted code, or not the one asked for
    │   └── GenerationFailedError    (RuntimeError) run() or as_task() on a result that did not succeed
    ├── ModelError                   the language model's answer can't be used
    │   ├── InvalidAnswerError       (ValueError) not what was asked for, also when asked again
    │   ├── AnswerCutOffError        the answer ended before it was complete
    │   └── ReplayError              (LookupError) a replayed transcript has no answer for a step
    ├── BudgetExceededError          a limit on calls, tokens or seconds was reached
    ├── ReviewRejectedError          a person rejected what was shown, for good
    ├── JobError                     (*) what a run in the sandbox came to, where it did not simply exit
    │   ├── JobTimedOutError         (TimeoutError)
    │   ├── JobOutOfMemoryError      (MemoryError)
    │   ├── JobKilledError
    │   ├── OutputTooLargeError
    │   ├── SolutionFailedError      (RuntimeError) the program exited with an error
    │   └── OutputInvalidError       (ValueError) an output is missing or is not of its type
    └── InfrastructureError          a service or this machine failed: never shown to the model as program output
        ├── ModelUnavailableError    (ConnectionError) no answer from the endpoint after the retries
        ├── ModelRefusedError        the endpoint refused: key, model name or address (not retried)
        │   └── ContextTooLongError  the request is longer than the model's context
        ├── SandboxFailedError       (RuntimeError)
        ├── StorageFailedError       (RuntimeError) this machine can't store what is needed: a full disk
        ├── EnvironmentBuildError    (RuntimeError) the environment can't be resolved or built
        └── ReviewFailedError        (RuntimeError) a person could not be asked, or did not answer in time

(*) Also a `flyte.errors.NonRecoverableError`: it would be the same again, so Flyte does not try the task again that it
ends. The others leave that to the task's `retries`.

Each message says what was wrong, where, and what to do.
"""

from __future__ import annotations

from flyte.errors import NonRecoverableError


class CodegenError(Exception):
    """Base of all errors of this package."""


class _NotTriedAgainError(CodegenError, NonRecoverableError):
    """An error that no further try helps against."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message, code=type(self).__name__)


class UserError(_NotTriedAgainError):
    """The request or a setting is wrong; raised before anything is paid for."""


class InvalidRequestError(UserError, ValueError):
    """Something in the prompt, the names, the types, the samples or the settings can't be used."""


class InvalidInputError(UserError, ValueError):
    """A value for `run()` or for the task is missing, unknown or of the wrong type."""


class MissingCredentialError(UserError, LookupError):
    """A key or a secret that was named is not there; the message names it and never shows a value."""


class SandboxUnavailableError(UserError, RuntimeError):
    """No runtime on this machine can do the job, or not the one that was asked for."""


class GenerationFailedError(UserError, RuntimeError):
    """`run()` or `as_task()` was called on a result whose generation did not succeed."""


class ModelError(CodegenError):
    """The language model answered, and the answer can't be used."""


class InvalidAnswerError(ModelError, ValueError):
    """An answer does not fit what was asked for, also after it was asked again."""


class AnswerCutOffError(ModelError):
    """An answer ended before it was complete, also after it was asked again."""


class ReplayError(ModelError, LookupError):
    """A replayed transcript has no more answers for a step; the message names the step."""


class BudgetExceededError(CodegenError):
    """A limit of the agent on calls, tokens or seconds was reached; the message says which."""


class ReviewRejectedError(CodegenError):
    """A person rejected what was shown without a reason, or more often than there are attempts."""


class JobError(_NotTriedAgainError):
    """A run in the sandbox came to something else than an exit status.

    Attributes:
        stdout: The tail of what the program printed.
        stderr: The tail of what it printed as errors.
    """

    def __init__(self, message: str, stdout: str = "", stderr: str = "") -> None:
        super().__init__(message)
        self.stdout = stdout
        self.stderr = stderr

    def __reduce__(self) -> tuple[type[JobError], tuple[str, str, str]]:
        return type(self), (str(self), self.stdout, self.stderr)


class JobTimedOutError(JobError, TimeoutError):
    """The time limit passed; the whole process tree was ended."""


class JobOutOfMemoryError(JobError, MemoryError):
    """The program went over its memory limit and was ended."""


class JobKilledError(JobError):
    """The program was ended by a signal that was not ours."""


class OutputTooLargeError(JobError):
    """The program printed or wrote more than its cap and was ended."""


class SolutionFailedError(JobError, RuntimeError):
    """The program exited with another status than 0; the message has its last lines."""


class OutputInvalidError(JobError, ValueError):
    """An output that the contract declares is missing, or is not of its type."""


class InfrastructureError(CodegenError):
    """A service or this machine failed; never a verdict on the code, never shown to the model as program output."""


class ModelUnavailableError(InfrastructureError, ConnectionError):
    """The model's endpoint gave no answer within the deadline and the retries."""


class ModelRefusedError(InfrastructureError):
    """The model's endpoint refused the request: key, model name or address; not retried."""


class ContextTooLongError(ModelRefusedError):
    """The request is longer than the model's context; it is asked again with less about the samples."""


class SandboxFailedError(InfrastructureError, RuntimeError):
    """The sandbox itself failed, not the program in it."""


class StorageFailedError(InfrastructureError, RuntimeError):
    """This machine can't store what the work needs: the disk is full, a quota is reached, or nothing can be written."""


class EnvironmentBuildError(InfrastructureError, RuntimeError):
    """An environment can't be resolved or built.

    Attributes:
        packages: The distributions that the message is about, where they are known.
    """

    def __init__(self, message: str, packages: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.packages = packages

    def __reduce__(self) -> tuple[type[EnvironmentBuildError], tuple[str, tuple[str, ...]]]:
        return type(self), (str(self), self.packages)


class ReviewFailedError(InfrastructureError, RuntimeError):
    """A person could not be asked, or did not answer in time; what was shown is as good as it was."""
