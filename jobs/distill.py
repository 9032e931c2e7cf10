"""The main job: conversations in, a retriever that answers out.

python jobs/distill.py --config configs/local.yaml [--student.learning_rate 3e-5 …] [--deploy [PORT]]
"""

import sys

from jobs.config import STAGES, ConfigError, parse
from jobs.execution.session import started, trial_name


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
    location = options.run or trial_name() or options.config.stem
    with started(config, location) as (run, tracker):
        from jobs.distillation import stages
        from jobs.execution.job import Job
        from jobs.reports.terminal import print_timings

        job = Job(config, run, tracker)
        for stage in STAGES[: STAGES.index(options.until) + 1]:
            getattr(stages, stage)(job)
        print_timings(run, list(job.keys))
        if options.deploy is not None:
            serve_run(run.uri, options.deploy)
    if options.until == STAGES[-1] and options.deploy is None:
        print(f"talk to it: make serve RUN={location}   (then the README's curl)")
    return 0


def serve_run(run: str, port: int) -> None:
    """Has the cluster serve the run; one that is the job's own ends with it, so that it then does not end.

    Raises:
        ValueError: see `deploy`.
    """
    from jobs.execution.cluster import is_joined
    from serve.config import ServeConfig
    from serve.deployment import deploy, run_until_interrupted

    config = ServeConfig(run=run, port=port)
    if is_joined():
        print(f"Answering at {deploy(config)} on the cluster's nodes.")
    else:
        run_until_interrupted(config)


if __name__ == "__main__":
    sys.exit(main())
