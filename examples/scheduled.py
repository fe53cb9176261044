"""A pipeline that runs generated code each morning: the exported module is under version control, no model is asked.

Run it here: flyte run --local examples/scheduled.py every_morning --now 2026-01-01T05:00:00
Deploy it with its schedule: flyte deploy examples/scheduled.py env
"""

import datetime

import flyte
from exported.lookalike import pipeline as lookalike
from flyte.io import File

env = flyte.TaskEnvironment(
    name="every-morning",
    image=flyte.Image.from_debian_base(),
    depends_on=[lookalike.env],
)
at_five = flyte.Trigger(
    name="at-five",
    automation=flyte.Cron("0 5 * * *", timezone="Europe/Berlin"),
    inputs={"now": flyte.TriggerTime},
)


@env.task(triggers=at_five)
async def every_morning(now: datetime.datetime) -> File:
    print("The audience of", now.date())
    return await lookalike.lookalike_audience()
