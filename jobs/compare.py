"""Does it pay? Trains and measures several systems on one set of teachers' output, and reports.

python jobs/compare.py --config configs/bench.yaml [--results docs/results.md] [--student.epochs 2 …]
"""

import sys

from jobs.comparison.config import parse_comparison
from jobs.execution.session import run_main, started


def main(arguments: list[str]) -> None:
    """Do what is missing, then report."""
    config, options = parse_comparison(arguments)

    from jobs.comparison.inputs import (
        check_examples,
        check_inputs,
        check_system_resources,
        human_ratings,
        out_of_domain,
    )
    from jobs.comparison.judging import judge, time_systems
    from jobs.comparison.plan import planned_work
    from jobs.comparison.results import MeasuredRun, comparison
    from jobs.comparison.systems import first_student, held_out_sets, run_systems
    from jobs.distillation.stages import TEACHERS_WORK
    from jobs.reports.plan import print_plan
    from jobs.reports.publish import check_document, publish

    # Whatever can be wrong is looked at before hours are spent.
    check_inputs(config)
    check_document(options.results)
    ratings, outside = human_ratings(config), out_of_domain(config)

    with started(config, options.run or options.config.stem) as base:
        check_system_resources(config)
        if options.plan:
            print_plan(planned_work(base), config.plan)
            return
        base.do_all(TEACHERS_WORK, checks={"examples": lambda: check_examples(base)})
        sets = held_out_sets(base, outside)
        systems = run_systems(base, sets)

        measured = MeasuredRun.of_systems(base, systems)
        judge(base, measured.answers, ratings)
        if config.compare.timed_requests:
            time_systems(base, first_student(base, systems), config.compare.timed_requests)

        report = comparison(measured, sets, ratings)
        publish(report, base.run, base.tracker, options.results)


if __name__ == "__main__":
    sys.exit(run_main(main))
