"""What an agent is set to. Settings are a value: a changed agent is another agent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import flyte
from flyte.sandbox import ImageConfig

from flyteplugins.codegen.core.budget import Budget
from flyteplugins.codegen.core.events import Event

if TYPE_CHECKING:
    from flyteplugins.codegen.core.review import OnReview

CacheMode = Literal["auto", "override", "disable"]
CACHE_MODES: Final = ("auto", "override", "disable")

ImageStrategy = Literal["auto", "build", "install"]
IMAGE_STRATEGIES: Final = ("auto", "build", "install")

SamplePrivacy = Literal["rows", "schema"]
SAMPLE_PRIVACY: Final = ("rows", "schema")

ReviewKind = Literal["plan", "code", "packages"]
REVIEW_KINDS: Final = ("plan", "code", "packages")

ReviewDefault = Literal["reject", "approve"]
REVIEW_DEFAULTS: Final = ("reject", "approve")

RUNTIMES: Final = ("auto", "bubblewrap", "docker", "process")

CHECK_SECONDS: Final = 300.0
"""Time limit of one check or test run where `timeout` does not say otherwise."""


@dataclass(frozen=True)
class Settings:
    """The settings of an agent; `AutoCoderAgent` documents each for its users."""

    name: str = "auto-coder"
    model: str = "gpt-4.1"
    backend: str = "litellm"
    system_prompt: str | None = None
    api_key: str | None = None
    api_base: str | None = None
    litellm_params: dict[str, Any] | None = None
    base_packages: list[str] | None = None
    resources: flyte.Resources | None = None
    image_config: ImageConfig | None = None
    max_iterations: int = 10
    max_sample_rows: int = 100
    skip_tests: bool = False
    sandbox_retries: int = 0
    timeout: int | None = None
    env_vars: dict[str, str] | None = None
    secrets: list[flyte.Secret] | None = None
    cache: CacheMode = "auto"
    agent_max_turns: int = 50
    _: KW_ONLY
    block_network: bool = True
    sandbox: str = "auto"
    sample_privacy: SamplePrivacy = "rows"
    max_calls: int | None = None
    max_tokens_total: int | None = None
    max_seconds: float | None = None
    budget: Budget | None = None
    call_timeout: float = 120.0
    fallback_models: list[str | dict[str, Any]] | None = None
    store: str | Path | None = None
    on_event: Callable[[Event], None] | None = field(default=None, compare=False, repr=False)
    review: ReviewKind | list[ReviewKind] | None = None
    review_timeout: float | None = None
    review_default: ReviewDefault = "reject"
    on_review: OnReview | None = field(default=None, compare=False, repr=False)
    image_strategy: ImageStrategy = "auto"
    base_image: str | None = None
    wheels: str | None = None

    @property
    def reviewed(self) -> tuple[ReviewKind, ...]:
        """What a person is to approve, in the order in which it comes up."""
        asked = [self.review] if isinstance(self.review, str) else self.review or []
        kinds: tuple[ReviewKind, ...] = REVIEW_KINDS
        return tuple(kind for kind in kinds if kind in asked)

    @property
    def limits(self) -> Budget:
        """What a generation may use: `budget` and the caps, whichever is smaller."""
        caps = Budget(tokens=self.max_tokens_total, seconds=self.max_seconds, calls=self.max_calls)
        return caps.and_also(self.budget) if self.budget else caps

    def jobs_through(self, runtime: Any) -> Any:
        """What runs the jobs of a generation, given the sandbox that was chosen; here that sandbox itself."""
        return runtime
