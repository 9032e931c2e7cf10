"""The Ray Data pipeline of one teacher's workers, from files of work to rows of the store."""

from collections.abc import Iterator

import pyarrow as pa
import ray.data

from teachers.config import TeacherConfig
from teachers.engines.protocol import TeacherError
from teachers.inference.attempts import start_ledger
from teachers.inference.notes import Notes
from teachers.inference.tasks import Made, TeacherWork
from teachers.inference.work_files import work_files
from teachers.inference.worker import Worker
from teachers.storage import absolute, make_folder

# Files of work that a worker gets at once in a long job: it waits for storage once, at their end.
_FILES_AT_ONCE = 8


def run_teacher(work: TeacherWork, work_uri: str) -> Iterator[Made]:
    """Have one teacher do the rows at `work_uri` (see `write_work`); end when all are in the store.

    Yields what a replica has made, whenever it has.

    Raises:
        TeacherError: the teacher can't work, and why.
    """
    name, config = work.name, work.config
    notes = Notes(work.notes_uri)
    notes.clear()
    make_folder(work.store_uri)

    files = blocks_of_files(work_files(absolute(work_uri)), config.at_most())

    try:
        blocks = ray.data.from_arrow(files)
        # So that each batch is seen when it is made, and not when its block of files is.
        blocks.context.target_max_block_size = 1
        made = blocks.map_batches(
            Worker,
            fn_constructor_args=(work.with_absolute_uris(), start_ledger()),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=config.num_cpus,
            num_gpus=config.num_gpus or None,
            compute=_pool(config, len(files)),
            label_selector=config.node_labels or None,
            accelerator_type=config.accelerator_type,
        )
        for counts in made.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield Made(sum(counts["made"].to_pylist()), sum(counts["seconds"].to_pylist()))
    except Exception:
        failure = notes.read("failure")
        if failure is None:
            raise
        # As the error it was in the actor, not as the actor's death.
        raise TeacherError(failure if name in failure else f"teachers.{name}: {failure}") from None
    notes.clear()


def blocks_of_files(files: list[str], num_workers: int) -> list[pa.Table]:
    """Several files each where there are enough for all workers to get blocks again and again, else one."""
    size = max(1, min(_FILES_AT_ONCE, len(files) // (4 * num_workers)))
    return [pa.table({"file": files[start : start + size]}) for start in range(0, len(files), size)]


def _pool(config: TeacherConfig, num_files: int) -> ray.data.ActorPoolStrategy:
    """All replicas that there is work for are asked for at once, with their labels: so an autoscaler brings
    nodes for them. A pool that may shrink could give up those that wait: its share is of what is there."""
    return ray.data.ActorPoolStrategy(size=min(config.at_most(), max(config.at_least(), num_files)))
