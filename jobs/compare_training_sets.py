"""The worth of conversations as training data: a student for each set of them, one test (CoDi).

python jobs/compare_training_sets.py --config configs/training_sets.yaml [--results FILE] [--KEY VALUE]
"""

import sys

from jobs.execution.session import run_main, started
from jobs.training_sets.config import parse_training_sets


def main(arguments: list[str]) -> None:
    """Do the stages that are missing, then report."""
    config, options = parse_training_sets(arguments)

    from jobs.reports.plan import print_plan
    from jobs.reports.publish import check_document, publish
    from jobs.stages.documents import DOCUMENTS
    from jobs.training_sets.evaluation import evaluate, training_sets_comparison
    from jobs.training_sets.generator import measure_generators
    from jobs.training_sets.inputs import check_inputs
    from jobs.training_sets.plan import planned_work
    from jobs.training_sets.stages import QUESTIONS, train_students, write_first_index

    check_inputs(config)
    check_document(options.results, options.config.stem)
    with started(config, options.run or options.config.stem) as job:
        if options.plan:
            print_plan(planned_work(job), config.plan)
            return
        job.do_all([DOCUMENTS, QUESTIONS])
        students = train_students(job)
        write_first_index(job, students)

        measures, answers = evaluate(job, students), measure_generators(job)
        comparison = training_sets_comparison(job, students, measures, answers)
        publish(comparison, job.run, job.tracker, options.results, options.config.stem)
        job.log_timings()


if __name__ == "__main__":
    sys.exit(run_main(main))
