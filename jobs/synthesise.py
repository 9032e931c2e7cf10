"""Conversations synthesised from documents (CoDi): documents and a graph in, a data set of conversations out.

python jobs/synthesise.py --config configs/synthesise.yaml [--synthesis.conversations 1000 …]
"""

import sys

from jobs.config import ConfigError
from jobs.execution.session import started
from jobs.synthesis.config import parse_synthesis


def main() -> int:
    """Runs the stages that are missing. Exit status 2: the user's config or data is wrong."""
    try:
        return run_synthesis(sys.argv[1:])
    except (ConfigError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run_synthesis(arguments: list[str]) -> int:
    """See `main`.

    Raises:
        ConfigError, ValueError: the config or the data is wrong.
    """
    config, options = parse_synthesis(arguments)
    with started(config, options.run or options.config.stem) as (run, tracker):
        from jobs.conversational_search.stages import documents
        from jobs.execution.job import Job
        from jobs.reports.terminal import print_timings
        from jobs.synthesis import stages as synthesis_stages
        from teachers.synthesis.plans import graph_of

        # Read once: an edit while the job runs is of the next one.
        job, graph = Job(config, run, tracker), graph_of(config.synthesis)
        documents(job, config)
        synthesis_stages.plans(job, config, graph)
        synthesis_stages.conversations(job, config, graph)
        synthesis_stages.dataset(job, config)
        synthesis_stages.coverage(job, graph)
        print_timings(run, list(job.keys))
        file = run.at("dataset", "conversations.jsonl")
    print(
        f"train on it: make distill ARGS='--examples.conversations {file} --examples.test_share 0.4 "
        "--run synthesised'"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
