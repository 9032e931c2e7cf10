"""The main job: conversations in, a served retriever's index out.

python jobs/distill.py --config configs/local.yaml [--student.learning_rate 3e-5 …] [--deploy [PORT]]
"""

import logging
import sys

from jobs.distillation.config import STAGE_NAMES, parse
from jobs.execution.hints import make_command
from jobs.execution.session import run_main, started

logger = logging.getLogger("jobs.distill")  # as a script its own name would be __main__


def main(arguments: list[str]) -> None:
    """Do the stages that are missing."""
    config, options = parse(arguments)

    from jobs.distillation.inputs import check_examples, check_inputs
    from jobs.distillation.plan import planned_work
    from jobs.distillation.report import read_conversations
    from jobs.distillation.stages import STAGES
    from jobs.execution.tracking import trial_name
    from jobs.reports.plan import print_plan
    from serve.conversations import transcript

    check_inputs(config)
    location = options.run or trial_name() or options.config.stem
    with started(config, location) as job:
        if options.plan:
            print_plan(planned_work(job), config.plan)
            return
        # What a part of the job leaves out cannot fail.
        checks = {"examples": lambda: check_examples(job)} if options.until == STAGE_NAMES[-1] else {}
        job.do_all(STAGES, until=options.until, checks=checks)
        job.log_timings()
        if options.until == STAGE_NAMES[-1]:
            for conversation in read_conversations(job.run)[:1]:
                for line in transcript(conversation["turns"], 10):
                    logger.info("%s", line)
        if options.deploy is not None:
            serve_run(job.run.uri, options.deploy)

    if options.until == STAGE_NAMES[-1] and options.deploy is None:
        logger.info("talk to it: %s   (then the README's curl)", make_command("serve", RUN=location))


def serve_run(run: str, port: int) -> None:
    """Have the cluster serve the run; a cluster that is the job's own serves until interrupted."""
    from jobs.execution.cluster import is_joined
    from serve.config import ServeConfig
    from serve.deployment import deploy, run_until_interrupted

    config = ServeConfig(run=run, port=port)
    if is_joined():
        logger.info("Answering at %s on the cluster's nodes.", deploy(config))
    else:
        run_until_interrupted(config)


if __name__ == "__main__":
    sys.exit(run_main(main))
