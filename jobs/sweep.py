"""A sweep without a server: trials of the student's training, by Ray Tune, on one set of teachers' output.

python jobs/sweep.py --config configs/local.yaml [--sweep configs/sweep.yaml] [--generate.contexts 200 …]
"""

import sys
from pathlib import Path

from jobs.config import ConfigError, JobConfig, option_parser, parse_as
from jobs.execution.session import started
from jobs.sweeps.config import read_sweep


def main() -> int:
    """Does what is missing, then writes the report. Exit status 2: the user's config or data is wrong."""
    try:
        return run_sweep(sys.argv[1:])
    except (ConfigError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run_sweep(arguments: list[str]) -> int:
    """See `main`.

    Raises:
        ConfigError, ValueError: the config, the sweep's file or the data is wrong.
    """
    parser = option_parser("sweep.py", "configs/local.yaml")
    parser.add_argument("--sweep", default="configs/sweep.yaml", type=Path)
    config, options = parse_as(JobConfig, parser, arguments)
    sweep = read_sweep(options.sweep, config)
    name = options.run or f"sweep-{options.config.stem}"
    with started(config, name, stops_trainings=sweep.early_terminate is not None) as (run, tracker):
        from jobs.comparison.systems import teachers_work
        from jobs.execution.run_directory import key_of
        from jobs.sweeps.page import write_report
        from jobs.sweeps.trials import in_words, run_trials

        base = teachers_work(config, run, tracker)
        wanted = key_of(base.keys["targets"], config.student.model_dump(), sweep.model_dump())
        trials = base.once("sweep", wanted, lambda: {"trials": run_trials(base, sweep)})["trials"]
        write_report(run, sweep, trials)
        if trials[0]["score"] is None:
            raise ValueError(f"no trial has a {sweep.metric.name}: {trials[0]['error']}")
        print(f"best {sweep.metric.name}: {trials[0]['score']:.4f} by {in_words(trials[0]['changes'])}")
        print(f"report: {run.at('report', 'sweep.html')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
