"""Ray Train and DeepSpeed with two workers, on a tiny encoder; then retrieval with it."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray.cloudpickle
import ray.train

from student.config import StudentConfig
from student.encoder import embed_texts, load_encoder
from student.evaluation import evaluate_student
from student.retrieval import write_neighbours
from student.training import learning_rate_share, train_student
from teachers.records import EXAMPLES, RESPONSE_SET, TARGETS, read_rows, write_rows
from tests.student.student_rows import example_rows, target_rows

pytestmark = pytest.mark.usefixtures("ray_cluster")
# Ray Train's controller cannot import a test module: `Reports` travels by value.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Reports(ray.train.UserCallback):
    """Appends rank 0's metrics to a file, from the controller."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(metrics[0]) + "\n")

    def read(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._path.read_text().splitlines()]


def small_config(tiny_encoder: Path, **changes: Any) -> StudentConfig:
    fields = {
        "model": str(tiny_encoder),
        "max_tokens": 16,
        "contexts_per_step": 8,
        "epochs": 3,
        "learning_rate": 3e-3,
        "report_every_steps": 2,
        "checkpoint_every_steps": 6,
        "max_failures": 0,
    }
    return StudentConfig.model_validate({**fields, **changes})


@pytest.mark.parametrize(("zero_stage", "precision"), [(0, "bf16"), (3, "fp32")])
def test_two_workers_learn_and_save_an_encoder(
    tiny_encoder: Path, tmp_path: Path, zero_stage: int, precision: str
) -> None:
    targets = [*target_rows(70), *target_rows(5, "test")]
    write_rows(str(tmp_path / "targets"), targets, TARGETS)
    config = small_config(tiny_encoder, zero_stage=zero_stage, precision=precision)
    reports = Reports(tmp_path / "reports.jsonl")
    run = (str(tmp_path / "targets"), str(tmp_path / "student"), str(tmp_path / "train"), "run", config)
    counts = train_student(*run, [reports])

    # 70 contexts, 35 for each worker: 4 full steps of 8, in each of 3 epochs.
    assert (counts["contexts"], counts["steps"]) == (70, 12)
    history = reports.read()
    assert [line["step"] for line in history] == [2, 4, 6, 8, 10, 12]
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    loss = 0.9 * history[-1]["cross_entropy"] + 0.1 * history[-1]["kl"]
    assert history[-1]["loss"] == pytest.approx(loss, rel=1e-3)

    before, after = load_encoder(str(tiny_encoder), 16), load_encoder(str(tmp_path / "student"), 16)
    assert [type(module).__name__ for module in after] == ["Transformer", "Pooling", "Normalize"]
    assert all(parameter.dtype.itemsize == 4 for parameter in after.parameters())
    assert not np.allclose(embed_texts(before, ["w1"]), embed_texts(after, ["w1"]), atol=1e-3)

    if zero_stage == 3:
        return
    # The same call goes on from the checkpoint of step 12: nothing is left to do but to save.
    train_student(*run, [reports])
    assert len(reports.read()) == len(history)
    again = load_encoder(str(tmp_path / "student"), 16)
    np.testing.assert_array_equal(embed_texts(after, ["w1"]), embed_texts(again, ["w1"]))


def test_a_loss_that_is_no_number_ends_training_and_saves_nothing(tiny_encoder: Path, tmp_path: Path) -> None:
    write_rows(str(tmp_path / "targets"), target_rows(70), TARGETS)
    config = small_config(tiny_encoder, learning_rate=1e30, precision="fp32", max_failures=2)
    with pytest.raises(ValueError, match=r"of 12: the loss is nan; lower student.learning_rate"):
        train_student(
            str(tmp_path / "targets"), str(tmp_path / "student"), str(tmp_path / "train"), "run", config, []
        )
    assert not (tmp_path / "student").exists()


def test_fewer_contexts_than_workers_are_refused(tiny_encoder: Path, tmp_path: Path) -> None:
    write_rows(str(tmp_path / "targets"), target_rows(1), TARGETS)
    with pytest.raises(ValueError, match="1 training rows for 2 workers"):
        train_student(
            str(tmp_path / "targets"), "unused", str(tmp_path), "run", small_config(tiny_encoder), []
        )


def test_the_learning_rate_rises_then_falls() -> None:
    # 10 steps, 2 of warm-up: 1/2, 1, then down by ninths from 8/9.
    found = [learning_rate_share(step, 10, 0.2) for step in range(10)]
    assert found == pytest.approx([1 / 2, 1, *(left / 9 for left in range(8, 0, -1))])


def test_neighbours_are_the_nearest_other_replies(tiny_encoder: Path, tmp_path: Path) -> None:
    examples = [*example_rows(30, "train"), *example_rows(3, "test")]
    write_rows(str(tmp_path / "examples"), examples, EXAMPLES)
    counts = write_neighbours(
        str(tmp_path / "examples"), str(tmp_path / "neighbours"), str(tiny_encoder), 16, 4, 5, lambda *_: None
    )
    assert counts == {"contexts": 30, "replies": 30}
    found = {row["example_id"]: row["replies"] for row in read_rows(str(tmp_path / "neighbours"))}
    encoder = load_encoder(str(tiny_encoder), 16)
    for example in examples[:30]:
        others = list(
            {e["reply"].casefold(): e["reply"].casefold() for e in examples[:30]}.keys()
            - {example["reply"].casefold()}
        )
        scores = embed_texts(encoder, others) @ embed_texts(encoder, [example["context"][0]["content"]])[0]
        expected = [others[i] for i in np.argsort(-scores)[:5]]
        assert [reply.casefold() for reply in found[example["example_id"]]] == expected


def test_bm25_finds_replies_that_share_the_contexts_word(tiny_encoder: Path, tmp_path: Path) -> None:
    write_rows(str(tmp_path / "examples"), example_rows(30, "test"), EXAMPLES)
    served = [{"response_id": str(i), "text": f"w{i}", "source": "gold", "teacher": None} for i in (30, 31)]
    write_rows(str(tmp_path / "responses"), served, RESPONSE_SET)
    found = evaluate_student(
        str(tmp_path / "examples"),
        str(tmp_path / "responses"),
        {"untrained student": str(tiny_encoder)},
        small_config(tiny_encoder),
        num_contexts=25,
        seed=0,
        tally=lambda *_: None,
    )
    assert found["bm25"] == {
        "hits@1/20": 1.0,
        "mrr": 1.0,
        "recall@1": 1.0,
        "recall@10": 1.0,
        "recall@100": 1.0,
        "contexts": 25.0,
        "responses": 32.0,
    }
    assert found["untrained student"].keys() == found["bm25"].keys()
    assert found["untrained student"]["recall@100"] == 1.0  # there are but 32 responses
