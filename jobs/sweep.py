"""A sweep without a server: trials of the student's training, by Ray Tune, on one set of teachers' output.

python jobs/sweep.py --config configs/local.yaml [--sweep configs/sweep.yaml] [--generate.contexts 200 …]
"""

import logging
import sys
from pathlib import Path

from jobs.config import option_parser, parse_as
from jobs.distillation.config import DistillationConfig
from jobs.execution.session import run_main, started
from jobs.sweeps.config import read_sweep

logger = logging.getLogger("jobs.sweep")  # as a script its own name would be __main__


def main(arguments: list[str]) -> None:
    """Do what is missing, then report."""
    parser = option_parser("sweep.py", "configs/local.yaml")
    parser.add_argument("--sweep", default="configs/sweep.yaml", type=Path)
    parser.add_argument(
        "--at-once",
        type=int,
        help="trials side by side, on a cluster that grows; as many as it holds now if not given",
    )
    config, options = parse_as(DistillationConfig, parser, arguments)
    sweep = read_sweep(options.sweep, config)

    from jobs.distillation.inputs import check_inputs
    from jobs.distillation.stages import TEACHERS_WORK
    from jobs.reports.plan import print_plan
    from jobs.sweeps.page import write_report
    from jobs.sweeps.plan import planned_work
    from jobs.sweeps.trials import check_examples, in_words, run_trials_once

    check_inputs(config)
    location = options.run or f"sweep-{options.config.stem}"
    with started(config, location, stops_trainings=sweep.early_terminate is not None) as base:
        if options.plan:
            print_plan(planned_work(base, sweep), config.plan)
            return
        base.do_all(TEACHERS_WORK, checks={"examples": lambda: check_examples(base, sweep)})
        trials = run_trials_once(base, sweep, options.at_once)
        write_report(base.run, sweep, trials)

        best = trials[0]
        if best["score"] is None:
            raise ValueError(f"no trial has a {sweep.metric.name}: {best['error']}")
        logger.info("best %s: %.4f by %s", sweep.metric.name, best["score"], in_words(best["changes"]))
        logger.info("report: %s", base.run.at("report", "sweep.html"))


if __name__ == "__main__":
    sys.exit(run_main(main))
