"""Does it work? Trains and measures a ladder of systems on one set of teachers' output, and reports.

python jobs/compare.py --config configs/bench.yaml [--results docs/results.md] [--student.epochs 2 …]
"""

import sys

from jobs.comparison.config import parse_comparison
from jobs.config import ConfigError
from jobs.execution.session import started


def main() -> int:
    """Does what is missing, then writes the report. Exit status 2: the user's config or data is wrong."""
    try:
        return run_comparison(sys.argv[1:])
    except (ConfigError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run_comparison(arguments: list[str]) -> int:
    """See `main`.

    Raises:
        ConfigError, ValueError: the config or the data is wrong.
    """
    config, options = parse_comparison(arguments)
    with started(config, options.run or options.config.stem) as (run, tracker):
        from jobs.comparison.judging import judge, people_ratings, time_systems
        from jobs.comparison.results import Results, comparison
        from jobs.comparison.systems import (
            base_job,
            check_systems,
            first_student,
            held_out_sets,
            out_of_domain,
            run_systems,
        )
        from jobs.reports.publish import check_document, publish

        # What can be wrong is looked at before hours are spent.
        check_systems(config)
        check_document(options.results)
        ratings, outside = people_ratings(config), out_of_domain(config)

        base = base_job(config, run, tracker)
        sets = held_out_sets(base, outside)
        systems = run_systems(base, config, sets)
        results = {name: Results(system) for name, system in systems.items()}
        judge(base, config, {name: found.answers() for name, found in results.items()}, ratings)
        if config.compare.timed_requests:
            time_systems(base, first_student(systems, config), config.compare.timed_requests)
        publish(comparison(base, config, systems, results, sets, ratings), run, tracker, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
