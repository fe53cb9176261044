"""Analyses a DataFrame of sensor readings under constraints, and runs the code as a reusable task.

Needs a key in OPENAI_API_KEY, or a server of your own in OPENAI_BASE_URL. Run: python examples/analyze_sensors.py
"""

import flyte
import pandas as pd
from flyte.io import File
from flyte.sandbox import sandbox_environment

from flyteplugins.codegen import AutoCoderAgent

env = flyte.TaskEnvironment(name="analyze-sensors", depends_on=[sandbox_environment])

agent = AutoCoderAgent(
    model="gpt-4.1",
    name="sensor-analysis",
    base_packages=["numpy"],
    max_sample_rows=30,
)


@env.task
async def analyze_sensors(sensor_df: pd.DataFrame) -> tuple[File, int]:
    result = await agent.generate.aio(
        prompt="""Analyze IoT sensor data. For each sensor, calculate mean/min/max
temperature, mean humidity, and count warnings. Output a summary CSV.""",
        samples={"readings": sensor_df},
        constraints=[
            "Temperature values must be between -40 and 60 Celsius",
            "Humidity values must be between 0 and 100 percent",
            "Output report must have one row per unique sensor_id",
        ],
        outputs={
            "report": File,
            "total_anomalies": int,
        },
    )

    if not result.success:
        raise RuntimeError(f"Code generation failed: {result.error}")

    task = result.as_task(
        name="run-sensor-analysis",
        resources=flyte.Resources(cpu=1, memory="512Mi"),
    )

    return await task.aio(readings=result.original_samples["readings"])


if __name__ == "__main__":
    from pathlib import Path

    readings = pd.read_csv(Path(__file__).parent / "data" / "readings.csv")
    run = flyte.with_runcontext(mode="local").run(analyze_sensors, sensor_df=readings)
    report, total_anomalies = run.outputs()
    print("total_anomalies:", total_anomalies)
    print(Path(report.path).read_text())
