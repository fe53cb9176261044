"""A Flyte task, lookalike_audience: it runs solution.py, beside this file, in a process of its own.

Builds a lookalike audience: every user of user_features gets a similarity score from
the distance to the centre of the seed users in three standardised features (purchase
frequency, average order value, days since last purchase). The 10% most similar users
are the audience; 20% of them are put in a holdout group by a hash of their user_id, the
others are the target group. The result is one Parquet file.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import flyte
from flyte.io import File

HERE = Path(__file__).parent
SEED = HERE.joinpath("samples/seed/high_value_q1.csv")
USER_FEATURES = HERE.joinpath("samples/user_features/user_features.parquet")

image = flyte.Image.from_debian_base(python_version=(3, 11))
image = image.with_requirements(HERE / "requirements.txt")
env = flyte.TaskEnvironment(
    name="lookalike-audience",
    image=image,
    include=(
        str(HERE / "solution.py"),
        str(HERE / "requirements.txt"),
        str(SEED),
        str(USER_FEATURES),
    ),
)


@env.task
async def lookalike_audience(
    seed: File | None = None,
    user_features: File | None = None,
) -> File:
    """Run the code once; gives lookalike_audience_scored."""
    outputs = await run_solution(
        seed=seed or SEED,
        user_features=user_features or USER_FEATURES,
    )
    return await save(outputs / "lookalike_audience_scored")


async def run_solution(**inputs: object) -> Path:
    """Run the script to its end; gives the folder with its outputs.

    The folder stays: on this machine Flyte refers to the files in it.
    """
    arguments = []
    for name, value in inputs.items():
        arguments.append(f"--{name}={await argument(value)}")
    outputs = Path(tempfile.mkdtemp())
    arguments.append(f"--outputs={outputs}")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "solution.py"),
        *arguments,
    )
    try:
        status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if status != 0:
        raise RuntimeError(f"solution.py exited with status {status}")
    return outputs


async def argument(value: object) -> str:
    """The text that hands a value to the script."""
    if isinstance(value, File):
        return str(await value.download())
    return str(value)


async def save(path: Path) -> File:
    """Put an output file where Flyte keeps its data."""
    return await File.from_local(str(path))
