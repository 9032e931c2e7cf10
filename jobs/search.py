"""Conversational search (DiSCo): documents and questions in, a student that searches without rewriting out.

python jobs/search.py --config configs/search.yaml [--results docs/results.md] [--student.epochs 5 …]
"""

import sys

from jobs.config import ConfigError
from jobs.conversational_search.config import parse_search
from jobs.execution.session import started


def main() -> int:
    """Runs the stages that are missing. Exit status 2: the user's config or data is wrong."""
    try:
        return run_search(sys.argv[1:])
    except (ConfigError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run_search(arguments: list[str]) -> int:
    """See `main`.

    Raises:
        ConfigError, ValueError: the config or the data is wrong.
    """
    config, options = parse_search(arguments)
    with started(config, options.run or options.config.stem) as (run, tracker):
        from jobs.conversational_search import stages as search_stages
        from jobs.conversational_search.evaluation import evaluate
        from jobs.conversational_search.report import search_comparison
        from jobs.execution.job import Job
        from jobs.reports.publish import check_document, publish
        from jobs.reports.terminal import print_timings

        check_document(options.results, options.config.stem)

        job = Job(config, run, tracker)
        for stage in (
            search_stages.documents,
            search_stages.questions,
            search_stages.rewrite,
            search_stages.vectors,
            search_stages.pools,
        ):
            stage(job, config)
        students = search_stages.students(job, config)
        search_stages.index(job, config)
        search_stages.latency(job, config)
        found = search_comparison(job, students, evaluate(job, config, students))
        publish(found, run, tracker, options.results, options.config.stem)
        print_timings(run, list(job.keys))
    print(f"search it: make serve RUN={options.run or options.config.stem}   (then POST /search)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
