"""Trains tiny sparse students without Ray and prints what is active in the end, a line of JSON for each.

python -m tests.student.training.sparse_training SETTINGS, a JSON list of objects of `student`.
"""

import json
import os
import sys
import tempfile
from functools import partial
from typing import Any

import torch

from student.config import StudentConfig
from student.training.batches import epoch_batches
from tests.student.student_rows import example_rows, target_rows


def train(settings: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What is active in training, over the last 20 steps, and on held-out texts."""
    from student.training.deepspeed_engine import start_engine
    from student.training.loop import build_model
    from student.training.sparsity import SparsityController, activity
    from student.training.step import train_step
    from student.training.validation import validate, validation_set

    config = StudentConfig.model_validate(
        {
            "kind": "sparse",
            "max_tokens": 16,
            "global_batch_size": 20,
            "epochs": 25,
            "learning_rate": 3e-3,
            "precision": "fp32",
            **settings,
        }
    )
    rows = target_rows(120)
    held_out = validation_set(example_rows(40, "validation"), config)
    assert held_out is not None
    num_steps = config.epochs * len(rows) // config.global_batch_size
    engine = start_engine(build_model(config), config, num_steps)
    controller = SparsityController(config, num_steps, engine.module.encoder, None)
    step = 0
    active: list[dict[str, float]] = []
    for epoch in range(config.epochs):
        for batch in epoch_batches(lambda size: [rows], epoch, 0, config):
            penalty = partial(controller.penalty, step)
            _, contexts, responses = train_step(engine, batch, config, penalty, step)
            controller.steer(step, contexts, responses)
            active.append({name: value.item() for name, value in activity(contexts, responses).items()})
            step += 1
    last = {name: sum(measured[name] for measured in active[-20:]) / 20 for name in active[0]}
    return {"train": last, "validation": validate(engine, held_out, config, controller)[0]}


if __name__ == "__main__":
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", DS_ACCELERATOR="cpu")
    torch.set_num_threads(1)
    with tempfile.NamedTemporaryFile() as file:
        torch.distributed.init_process_group("gloo", f"file://{file.name}", rank=0, world_size=1)
        for each in json.loads(sys.argv[1]):
            print(json.dumps(train(each)))
