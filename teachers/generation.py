"""Teachers write responses: a Ray Data pipeline of vLLM actors for one teacher."""

import json
from typing import Any

import pyarrow as pa
import ray.data
from ray.data.checkpoint import CheckpointConfig

from teachers.config import GenerateConfig, TeacherConfig
from teachers.engine import Engine
from teachers.filters import sift
from teachers.records import RESPONSES, open_uri


class Writer:
    """Ray Data actor: rows of EXAMPLES in, rows of RESPONSES out."""

    def __init__(self, name: str, teacher: TeacherConfig, config: GenerateConfig, check_uri: str) -> None:
        self._engine = checked_engine(name, teacher, check_uri)
        self._config = config

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows: list[dict[str, Any]] = []
        prompts: list[list[int]] = []
        for example in batch.to_pylist():
            row = {"example_id": example["example_id"], "responses": [], "rejected": [], "error": None}
            try:
                prompts.append(self._engine.format.context(example["context"]))
                rows.append({**row, "context": example["context"]})
            except ValueError as error:
                rows.append({**row, "error": str(error)})
        samples = iter(self._engine.generate(prompts, self._config))
        for row in rows:
            if row["error"] is None:
                row["responses"], row["rejected"] = sift(next(samples), row.pop("context"))
        return pa.Table.from_pylist(rows, schema=RESPONSES)


def checked_engine(name: str, teacher: TeacherConfig, check_uri: str) -> Engine:
    """A started engine whose sanity check, passed or not, is written to `check_uri` as JSON.

    Raises:
        ValueError: the check failed.
    """
    engine = Engine(name, teacher)
    filesystem, path = open_uri(check_uri)
    try:
        report = {"line": engine.check().line()}
    except ValueError as error:
        report = {"error": str(error)}
    with filesystem.open_output_stream(path) as stream:
        stream.write(json.dumps(report).encode())
    if "error" in report:
        raise ValueError(report["error"])
    return engine


def run_teacher(
    dataset: ray.data.Dataset,
    actor: type,
    actor_arguments: tuple[Any, ...],
    teacher: TeacherConfig,
    batch_size: int,
    output_uri: str,
) -> None:
    """Maps rows through engines and writes each batch as it is done.

    Ray Data's checkpoint by `example_id` lies in `<output_uri>/../checkpoint`: a job that was cut off goes
    on at the batches that are not written.
    """
    # On the dataset's own context, which it copied from the process's when it was made.
    dataset.context.checkpoint_config = CheckpointConfig(
        id_column="example_id",
        checkpoint_path=f"{output_uri.rsplit('/', 1)[0]}/checkpoint",
        delete_checkpoint_on_success=False,
    )
    dataset.repartition(target_num_rows_per_block=batch_size).map_batches(
        actor,
        fn_constructor_args=actor_arguments,
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=teacher.num_cpus,
        num_gpus=teacher.num_gpus or None,
        compute=ray.data.ActorPoolStrategy(size=teacher.replicas),
    ).write_parquet(output_uri)


def write_responses(
    contexts_uri: str,
    output_uri: str,
    check_uri: str,
    name: str,
    teacher: TeacherConfig,
    config: GenerateConfig,
) -> None:
    """Writes RESPONSES for every row of EXAMPLES at `contexts_uri`, by one teacher."""
    run_teacher(
        ray.data.read_parquet(contexts_uri),
        Writer,
        (name, teacher, config, check_uri),
        teacher,
        config.batch_size,
        output_uri,
    )
