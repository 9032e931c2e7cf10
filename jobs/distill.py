"""The main job: conversations in, a retriever that answers out.

python jobs/distill.py --config configs/local.yaml [--student.learning_rate 3e-5 …]
"""

import os
import sys
from pathlib import Path

from jobs.config import STAGES, ConfigError, parse


def main() -> int:
    """Runs the stages that are missing. Exit status 2: the user's config or data is wrong."""
    try:
        return run_job(sys.argv[1:])
    except (ConfigError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run_job(arguments: list[str]) -> int:
    """See `main`.

    Raises:
        ConfigError, ValueError: the config or the data is wrong.
    """
    config, options = parse(arguments)
    _quieten_libraries()
    from jobs.checks import check_inputs

    check_inputs(config)

    import ray

    from jobs import stages
    from jobs.checks import check_resources
    from jobs.cluster import connect
    from jobs.report import print_timings
    from jobs.run_directory import RunDirectory, circumstances
    from jobs.tracking import Tracker

    location = options.run or options.config.stem
    run = RunDirectory(location if "/" in location else str(Path("runs") / location))
    connect()
    try:
        check_resources(config)
        run.write_json({"config": config.model_dump(mode="json"), **circumstances()}, "run.json")
        local = "://" not in run.uri
        tracker = Tracker(config.tracking.project, run.uri if local else ".", config.model_dump(mode="json"))
        job = stages.Job(config, run, tracker)
        print(f"run directory: {run.uri}")
        for stage in STAGES[: STAGES.index(options.until) + 1]:
            getattr(stages, stage)(job)
        print_timings(run, list(job.keys))
        tracker.finish()
        if options.until == STAGES[-1]:
            print(f"talk to it: make serve RUN={location}   (then the README's curl)")
    finally:
        ray.shutdown()
    return 0


def _quieten_libraries() -> None:
    """Nothing is fetched that the config did not name, and libraries' chatter stays in their log files."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


if __name__ == "__main__":
    sys.exit(main())
