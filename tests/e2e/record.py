"""Record a generation with a live model: its transcript is an end-to-end test, or the demo's recording.

    python tests/e2e/record.py NAME --model MODEL [--api-base URL] [--api-key VARIABLE] [--to FILE]

Without `--to` the transcript goes to `recordings/NAME.jsonl`, that of the demo to where `codegen demo` reads it. A
generation that failed is written to `NAME.failed.jsonl` and ends with status 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recorded_requests import RECORDINGS, REQUESTS
from rich.console import Console

from flyteplugins.codegen import AutoCoderAgent, CodeGenEvalResult
from flyteplugins.codegen.cli.arguments import generate_arguments
from flyteplugins.codegen.cli.demo.request import LOOKALIKE, RECORDING, NamedRequest
from flyteplugins.codegen.models.transcript import transcript_of
from flyteplugins.codegen.report.live import View


def record(request: NamedRequest, model: str, api_base: str | None, api_key: str | None) -> CodeGenEvalResult:
    """Generate with everything real and nothing served from an earlier generation."""
    console = Console(stderr=True)
    with View(console) as view:
        agent = AutoCoderAgent(
            name=request.name,
            model=model,
            api_base=api_base,
            api_key=api_key,
            cache="disable",
            call_timeout=3600,
            on_event=view.on_event,
        )
        return agent.generate(**generate_arguments(request))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=REQUESTS)
    parser.add_argument("--model", required=True)
    parser.add_argument("--api-base")
    parser.add_argument("--api-key", help="name of the environment variable that holds the key")
    parser.add_argument("--to", type=Path)
    chosen = parser.parse_args()
    request = REQUESTS[chosen.name]
    result = record(request, chosen.model, chosen.api_base, chosen.api_key)
    to = chosen.to or (RECORDING if request is LOOKALIKE else RECORDINGS / f"{request.name}.jsonl")
    if not result.success:
        to = to.with_name(f"{request.name}.failed.jsonl")
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(transcript_of(result.conversation_history), encoding="utf-8")
    print(result.summary())  # noqa: T201 # a tool that is run by hand
    print(to)  # noqa: T201 # as above
    sys.exit(0 if result.success else 1)


if __name__ == "__main__":
    main()
