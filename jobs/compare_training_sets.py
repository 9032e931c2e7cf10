"""What conversations are worth as training data: a student for each set of them, one test (CoDi).

python jobs/compare_training_sets.py --config configs/training_sets.yaml [--results FILE] [--KEY VALUE]
"""

import sys

from jobs.config import ConfigError
from jobs.execution.session import started
from jobs.training_sets.config import parse_grounded


def main() -> int:
    """Runs the stages that are missing. Exit status 2: the user's config or data is wrong."""
    try:
        return run_grounded(sys.argv[1:])
    except (ConfigError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run_grounded(arguments: list[str]) -> int:
    """See `main`.

    Raises:
        ConfigError, ValueError: the config or the data is wrong.
    """
    config, options = parse_grounded(arguments)
    with started(config, options.run or options.config.stem) as (run, tracker):
        from jobs.conversational_search.stages import documents
        from jobs.execution.job import Job
        from jobs.reports.publish import check_document, publish
        from jobs.reports.terminal import print_timings
        from jobs.training_sets import stages as grounded_stages
        from jobs.training_sets.evaluation import evaluate, grounded_comparison
        from jobs.training_sets.generator import generators

        check_document(options.results, options.config.stem)
        job = Job(config, run, tracker)
        documents(job, config)
        grounded_stages.questions(job, config)
        students = grounded_stages.students(job, config)
        grounded_stages.index(job, config, students)
        found = grounded_comparison(job, students, evaluate(job, config, students), generators(job, config))
        publish(found, run, tracker, options.results, options.config.stem)
        print_timings(run, list(job.keys))
    return 0


if __name__ == "__main__":
    sys.exit(main())
