"""Conversations synthesised from documents (CoDi): documents and a graph in, a data set of conversations out.

python jobs/synthesise.py --config configs/synthesise.yaml [--synthesis.conversations 1000 …]
"""

import logging
import shlex
import sys

from jobs.execution.hints import make_command
from jobs.execution.session import run_main, started
from jobs.synthesis.config import parse_synthesis

logger = logging.getLogger("jobs.synthesise")  # as a script its own name would be __main__


def main(arguments: list[str]) -> None:
    """Do the stages that are missing, then report."""
    config, options = parse_synthesis(arguments)

    from jobs.reports.plan import print_plan
    from jobs.synthesis.inputs import check_inputs
    from jobs.synthesis.plan import planned_work
    from jobs.synthesis.stages import stages_along
    from teachers.synthesis.plans import graph_of

    check_inputs(config)
    with started(config, options.run or options.config.stem) as job:
        # Read once: an edit while the job runs belongs to the next one.
        stages = stages_along(graph_of(config.synthesis))
        if options.plan:
            print_plan(planned_work(job, stages), config.plan)
            return
        job.do_all(stages)
        job.log_timings()
        file = job.run.at("dataset", "conversations.jsonl")

    examples = ["--examples.conversations", file, "--examples.test_share", "0.4"]
    words = shlex.join([*examples, "--run", "synthesised"])
    logger.info("train on it: %s", make_command("distill", ARGS=words))


if __name__ == "__main__":
    sys.exit(run_main(main))
