"""Conversational search (DiSCo): documents and questions in, a student that searches without rewriting out.

python jobs/search.py --config configs/search.yaml [--results docs/results.md] [--student.epochs 5 …]
"""

import logging
import sys

from jobs.conversational_search.config import parse_search
from jobs.execution.hints import make_command
from jobs.execution.session import run_main, started

logger = logging.getLogger("jobs.search")  # as a script its own name would be __main__


def main(arguments: list[str]) -> None:
    """Do the stages that are missing, then report."""
    config, options = parse_search(arguments)

    from jobs.conversational_search.evaluation import evaluate
    from jobs.conversational_search.inputs import check_inputs, check_questions_by_split
    from jobs.conversational_search.plan import planned_work
    from jobs.conversational_search.report import search_comparison
    from jobs.conversational_search.stages import INDEX, LATENCY, TEACHERS_WORK, train_students
    from jobs.reports.plan import print_plan
    from jobs.reports.publish import check_document, publish

    check_inputs(config)
    check_document(options.results, options.config.stem)
    location = options.run or options.config.stem
    with started(config, location) as job:
        if options.plan:
            print_plan(planned_work(job), config.plan)
            return
        job.do_all(TEACHERS_WORK, checks={"questions": lambda: check_questions_by_split(job)})
        students = train_students(job)
        job.do_all([INDEX, LATENCY])

        comparison = search_comparison(job, students, evaluate(job, students))
        publish(comparison, job.run, job.tracker, options.results, options.config.stem)
        job.log_timings()

    logger.info("search it: %s   (then POST /search)", make_command("serve", RUN=location))


if __name__ == "__main__":
    sys.exit(run_main(main))
