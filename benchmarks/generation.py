"""Generation speed: a teacher in its Ray Data pipeline beside raw `vllm.LLM.generate`, the same prompts.

    python benchmarks/generation.py [--quick] [--model smollm2-135m-instruct]

Both have an engine with the same settings, one after the other, alternating. The start of the engine is shown
but not counted: the raw call is timed alone, the pipeline from its first batch to the last file in the store.
The last line is JSON.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from teachers.config import GenerateConfig, VllmTeacher
from teachers.corpora.config import ExamplesConfig
from teachers.corpora.conversations import CHITCHAT, clean, read
from teachers.corpora.examples import cut
from teachers.dataset import read_rows
from teachers.generation.sampling import sample_requests, samples_in_a_batch, sampling
from teachers.inference.store import Row
from teachers.inference.work_files import write_work

THREADS = 2


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer prompts and rounds, under 5 minutes")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    options = parser.parse_args()
    num_contexts, rounds = (512, 1) if options.quick else (1024, 3)
    teacher = VllmTeacher(model=options.model, num_cpus=THREADS)
    config = GenerateConfig(samples=2)
    work = list(sample_requests(real_contexts(num_contexts), teacher, config))

    speeds: dict[str, list[float]] = {"vllm": [], "pipeline": []}
    for _ in range(rounds):
        for name, measure in (("vllm", raw), ("pipeline", pipeline)):
            start_s, seconds, words = in_process(measure, teacher, config, work)
            speeds[name].append(len(work) / seconds)
            print(
                f"{name:9} {len(work)} samples, {words} words: {seconds:.1f} s, "
                f"{speeds[name][-1]:.1f} samples/s, started in {start_s:.0f} s",
                flush=True,
            )

    ratio = statistics.median(speeds["pipeline"]) / statistics.median(speeds["vllm"])
    print(json.dumps({"ratio_to_vllm": round(ratio, 3)}))


def in_process(measure: Callable[..., tuple[float, float, int]], *arguments: Any) -> tuple[float, float, int]:
    """Run a measurement in a separate process; return its result."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, measure, arguments))
    process.start()
    sender.close()  # so that a process that dies ends the wait
    result: tuple[float, float, int] = receiver.recv()
    process.join()
    return result


def _send(sender: Any, measure: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    sender.send(measure(*arguments))


def real_contexts(number: int) -> list[Row]:
    """Contexts of real conversations, as rows with a `context`."""
    contexts: list[Row] = []
    for name, row in read(CHITCHAT):
        try:
            messages = clean(row, 400).messages
        except ValueError:
            continue

        for example in islice(cut(name, "train", messages, ExamplesConfig()), 3):
            contexts.append({"context": example["context"]})
        if len(contexts) >= number:
            break
    return contexts[:number]


def raw(teacher: VllmTeacher, config: GenerateConfig, work: list[Row]) -> tuple[float, float, int]:
    """Seconds of the start and of one call with all prompts, and the words written."""
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    from vllm import SamplingParams

    from teachers.engines.vllm_engine import Engine

    begin = time.perf_counter()
    engine = Engine("teacher", teacher)
    engine.check()

    prompts = [engine.format.prefix(row["context"], row["system_prompt"]).ids for row in work]
    params = [
        SamplingParams(
            temperature=config.temperature,
            top_p=config.top_p,
            max_tokens=config.max_tokens,
            seed=row["seed"],
            stop_token_ids=engine.format.end_of_turn,
        )
        for row in work
    ]
    start = time.perf_counter()

    outputs = engine._llm.generate([{"prompt_token_ids": ids} for ids in prompts], params, use_tqdm=False)
    end = time.perf_counter()
    return start - begin, end - start, sum(len(output.outputs[0].text.split()) for output in outputs)


def time_of(file: Path) -> float:
    """Wait for a file, which the worker writes when its engine is ready; return the time."""
    while not file.exists():
        time.sleep(0.01)
    return time.time()


def pipeline(teacher: VllmTeacher, config: GenerateConfig, work: list[Row]) -> tuple[float, float, int]:
    """Seconds until the first batch and from there to the last file, and the words written."""
    import logging

    import ray

    from teachers.inference.pipeline import run_teacher
    from teachers.inference.tasks import TeacherWork

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as watch:
        begin = time.time()
        started = watch.submit(time_of, Path(folder) / "notes" / "check.json")
        batch_size = samples_in_a_batch(config)
        task = sampling(config)
        write_work(f"{folder}/work", work, task.request_schema, batch_size)
        stored, notes = f"{folder}/store", f"{folder}/notes"
        teacher_work = TeacherWork("teacher", teacher, task, batch_size, stored, notes)
        for _ in run_teacher(teacher_work, f"{folder}/work"):
            pass
        end = max(path.stat().st_mtime for path in Path(f"{folder}/store").glob("*.parquet"))
        rows = read_rows(f"{folder}/store")
    ray.shutdown()
    assert len(rows) == len(work)
    start = started.result()
    return start - begin, end - start, sum(len((row["text"] or "").split()) for row in rows)


if __name__ == "__main__":
    main()
