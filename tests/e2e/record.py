"""Record a generation or a follow-up with a live model: its transcript is an end-to-end test, or the demo's recording.

    python tests/e2e/record.py NAME --model MODEL [--api-base URL] [--api-key VARIABLE] [--to FILE]

What a follow-up comes after is replayed from its own recording. Without `--to` the transcript goes to
`recordings/NAME.jsonl`, that of the demo to where `codegen demo` reads it. A generation that failed is written to
`NAME.failed.jsonl` and ends with status 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recorded_requests import FOLLOW_UPS, RECORDINGS, REQUESTS
from rich.console import Console

from flyteplugins.codegen import AutoCoderAgent, CodeGenEvalResult
from flyteplugins.codegen.cli.arguments import generate_arguments
from flyteplugins.codegen.cli.demo.request import LOOKALIKE, RECORDING, NamedRequest
from flyteplugins.codegen.models.transcript import transcript_of
from flyteplugins.codegen.report.live import View


def recording_of(request: NamedRequest) -> Path:
    """Where the recording of a request is kept."""
    return RECORDING if request is LOOKALIKE else RECORDINGS / f"{request.name}.jsonl"


def replayed(name: str) -> CodeGenEvalResult:
    """The result of a recorded request, or of a recorded follow-up and all that it comes after."""
    if name in FOLLOW_UPS:
        agent = AutoCoderAgent(name=name, model=f"replay:{RECORDINGS / name}.jsonl")
        return replayed(FOLLOW_UPS[name].after).revise(FOLLOW_UPS[name].prompt, agent=agent)
    request = REQUESTS[name]
    agent = AutoCoderAgent(name=name, model=f"replay:{recording_of(request)}")
    return agent.generate(**generate_arguments(request))


def record(name: str, model: str, api_base: str | None, api_key: str | None) -> tuple[CodeGenEvalResult, str]:
    """Generate, or revise, with everything real and nothing served from an earlier generation.

    Returns:
        The result, and the transcript of what was asked now.
    """
    before = replayed(FOLLOW_UPS[name].after) if name in FOLLOW_UPS else None
    with View(Console(stderr=True)) as view:
        agent = AutoCoderAgent(
            name=name,
            model=model,
            api_base=api_base,
            api_key=api_key,
            cache="disable",
            call_timeout=3600,
            on_event=view.on_event,
        )
        if before is None:
            result = agent.generate(**generate_arguments(REQUESTS[name]))
            return result, transcript_of(result.conversation_history)
        result = before.revise(FOLLOW_UPS[name].prompt, agent=agent)
        return result, transcript_of(result.conversation_history[len(before.conversation_history) :])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[*REQUESTS, *FOLLOW_UPS])
    parser.add_argument("--model", required=True)
    parser.add_argument("--api-base")
    parser.add_argument("--api-key", help="name of the environment variable that holds the key")
    parser.add_argument("--to", type=Path)
    chosen = parser.parse_args()
    result, transcript = record(chosen.name, chosen.model, chosen.api_base, chosen.api_key)
    usual = recording_of(REQUESTS[chosen.name]) if chosen.name in REQUESTS else RECORDINGS / f"{chosen.name}.jsonl"
    to = chosen.to or usual
    if not result.success:
        to = to.with_name(f"{chosen.name}.failed.jsonl")
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(transcript, encoding="utf-8")
    print(result.summary())  # noqa: T201 # a tool that is run by hand
    print(to)  # noqa: T201 # as above
    sys.exit(0 if result.success else 1)


if __name__ == "__main__":
    main()
