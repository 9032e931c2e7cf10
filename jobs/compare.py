"""Does it work? Trains and measures a ladder of systems on one set of teachers' output, and reports.

python jobs/compare.py --config configs/bench.yaml [--results docs/results.md] [--student.epochs 2 …]
"""

import sys
from pathlib import Path

from jobs.comparison_config import BM25, parse_comparison
from jobs.config import ConfigError
from jobs.start import started


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
        from jobs.comparison import Results, comparison, top_answers
        from jobs.judging import judge_answers, score_rated, time_all
        from jobs.ladder import base_job, held_out_sets, measure_baseline, run_system, untrained_student
        from jobs.published import publish

        base = base_job(config, run, tracker)
        sets = held_out_sets(base, _if_there(config.compare.out_of_domain))
        systems = {}
        for name in config.systems():
            if name in config.compare.ladder:
                systems[name] = run_system(base, config, name, sets)
            else:
                source = None if name == BM25 else untrained_student(config.baseline(name))
                systems[name] = measure_baseline(base, name, source, sets)
        results = {name: Results(system) for name, system in systems.items()}
        if config.compare.judged_contexts:
            judge_answers(base, config, top_answers(results))
        if ratings := _if_there(config.compare.ratings):
            score_rated(base, ratings)
        if config.compare.timed_requests:
            time_all(base, systems[config.compare.served], config)
        publish(comparison(base, config, systems, results, sets), run, tracker, options.results)
    return 0


def _if_there(file: str | None) -> str | None:
    """The file, or None with a line where it is not on this machine."""
    if file is None or "://" in file or Path(file).is_file():
        return file
    print(f"left out: {file} is not there")
    return None


if __name__ == "__main__":
    sys.exit(main())
