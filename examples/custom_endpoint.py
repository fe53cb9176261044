"""A server of your own: any that speaks OpenAI's API, such as vLLM, llama.cpp or Ollama, at its address.

Run: python examples/custom_endpoint.py http://localhost:11434/v1 qwen3-coder
"""

import sys
from pathlib import Path

from flyte.io import File

from flyteplugins.codegen import AutoCoderAgent

if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(f"usage: {sys.argv[0]} ADDRESS MODEL")
    address, model = sys.argv[1:]
    agent = AutoCoderAgent(
        name="sales-by-product",
        model=f"openai/{model}",
        api_base=address,
        sample_privacy="schema",  # the model sees names, types and null counts, and no value
    )
    result = agent.generate(
        "Write the revenue by product as a CSV with the columns product and revenue, largest first.",
        samples={"sales": File(path=str(Path(__file__).parent / "data" / "sales.csv"))},
        outputs={"by_product": File},
    )
    if not result.success:
        raise SystemExit(result.error)
    print(Path(result.run().path).read_text())
