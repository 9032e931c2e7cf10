"""Ray Train and DeepSpeed with real workers on tiny encoders: learning, resuming, and faults."""

import json
import shutil
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray.cloudpickle
import ray.train
import torch
from sentence_transformers import SentenceTransformer

from student.config import StudentConfig
from student.encoders.encoder import EncoderSource, embed_texts, load_encoder, separate_encoders
from student.training.loop import build_model, train_student
from student.training.ray_trainer import TrainingLocation
from teachers.dataset import write_rows
from teachers.records import EXAMPLES, TARGETS
from tests.student.student_rows import example_rows, target_rows

pytestmark = pytest.mark.usefixtures("ray_cluster")
# Ray Train's controller cannot import a test module: `Reports` travels by value.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Reports(ray.train.UserCallback):
    """Appends rank 0's metrics to a file, from the controller.

    At the report of `kill_at_step` it kills a worker, which is at most two reports ahead: Ray Train's
    workers wait until their last report is taken.
    """

    def __init__(self, path: Path, kill_at_step: int | None) -> None:
        self._path = path
        self._kill_at_step = kill_at_step
        self._killed = path.with_name("killed")

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(metrics[0]) + "\n")

        if metrics[0]["step"] == self._kill_at_step and not self.killed():
            training_workers()[-1].kill()
            self._killed.touch()

    def killed(self) -> bool:
        return self._killed.exists()

    def read(self) -> list[dict[str, Any]]:
        return (
            [json.loads(line) for line in self._path.read_text().splitlines()] if self._path.exists() else []
        )


def training_workers() -> list[psutil.Process]:
    """Training workers of the Ray cluster whose actor this process is."""
    workers = []
    for process in psutil.Process().parent().children():
        with suppress(psutil.NoSuchProcess):  # it has ended in the meantime
            if "RayTrainWorker" in " ".join(process.cmdline()[:1]):
                workers.append(process)
    return workers


class Training:
    """A training of a tiny student in a folder of its own."""

    def __init__(self, folder: Path, encoder: Path, kill_at_step: int | None = None, **settings: Any) -> None:
        self.folder = folder
        write_rows(str(folder / "targets"), [*target_rows(70), *target_rows(5, "test")], TARGETS)
        write_rows(str(folder / "examples"), example_rows(30, "validation"), EXAMPLES)
        self.reports = Reports(folder / "reports.jsonl", kill_at_step)
        self.settings: dict[str, Any] = {
            "model": str(encoder),
            "max_tokens": 16,
            "global_batch_size": 16,
            "epochs": 3,
            "learning_rate": 3e-3,
            "precision": "fp32",
            "report_every_steps": 2,
            "checkpoint_every_steps": 4,
            "max_failures": 0,
            **settings,
        }

    def run(self, **settings: Any) -> dict[str, Any]:
        return train_student(
            str(self.folder / "targets"),
            str(self.folder / "examples"),
            TrainingLocation(str(self.folder / "student"), str(self.folder / "train"), "run"),
            StudentConfig.model_validate({**self.settings, **settings}),
            [self.reports],
        )

    def checkpoints(self) -> list[Path]:
        return sorted((self.folder / "train" / "run").glob("checkpoint-*"))

    def student(self) -> Any:
        kind = self.settings.get("kind", "dense")
        return load_encoder(EncoderSource(str(self.folder / "student"), kind, 16))

    def weights(self) -> dict[str, torch.Tensor]:
        return dict(self.student().state_dict())


def assert_same_weights(
    actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], by: float
) -> None:
    for name, weight in expected.items():
        torch.testing.assert_close(actual[name], weight, rtol=0, atol=by)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Training:
    """An uninterrupted training by two workers."""
    training = Training(tmp_path_factory.mktemp("unbroken"), tiny_encoder)
    # 70 contexts make 4 steps of 16 an epoch.
    counts = training.run()
    assert (counts["contexts"], counts["steps"], counts["step"]) == (70, 12, 12)
    return training


def test_two_workers_learn_and_report(unbroken: Training, tiny_encoder: Path) -> None:
    history = unbroken.reports.read()
    assert [line["step"] for line in history] == [2, 4, 6, 8, 10, 12]
    assert history[-1]["loss"] < 0.95 * history[0]["loss"]

    loss = 0.9 * history[-1]["cross_entropy"] + 0.1 * history[-1]["kl"]
    assert history[-1]["loss"] == pytest.approx(loss, rel=1e-3)

    validated = [line for line in history if "validation_mrr" in line]
    assert [line["step"] for line in validated] == [4, 8, 12]
    assert validated[-1]["validation_loss"] < validated[0]["validation_loss"]
    assert all(0 <= line["data_share"] < 1 and line["contexts_per_s"] > 0 for line in history)


def test_the_best_checkpoint_becomes_the_student(unbroken: Training, tiny_encoder: Path) -> None:
    validated = {
        line["step"]: line["validation_mrr"] for line in unbroken.reports.read() if line["step"] % 4 == 0
    }
    best = max(validated, key=lambda step: (validated[step], step))
    student = SentenceTransformer(str(unbroken.folder / "student"))
    [checkpoint] = [path for path in unbroken.checkpoints() if f"-{best:08d}-" in path.name]
    saved = SentenceTransformer(str(checkpoint / "model"))
    assert_same_weights(student.state_dict(), dict(saved.state_dict()), by=0)
    assert [type(module).__name__ for module in student] == ["Transformer", "Pooling", "Normalize"]
    assert all(parameter.dtype == torch.float32 for parameter in student.parameters())

    before = load_encoder(EncoderSource(str(tiny_encoder), "dense", 16))
    changed = embed_texts(before, ["w1"], "context") - embed_texts(student, ["w1"], "context")
    assert np.abs(changed).max() > 1e-3


def test_the_student_is_the_mean_of_its_weights_before_and_after_training(
    tmp_path: Path, tiny_encoder: Path
) -> None:
    weights, reports = [], []
    for share in (0.0, 0.25):
        settings = {"epochs": 1, "zero_stage": 3, "report_every_steps": 1, "checkpoint_every_steps": 2}
        training = Training(tmp_path / str(share), tiny_encoder, num_workers=1, **settings)
        training.run(pretrained_share=share)
        last = SentenceTransformer(str(training.checkpoints()[-1] / "model"))
        weights.append({name: weight.clone() for name, weight in last.state_dict().items()})
        reports.append(training.reports.read())

    before = load_encoder(EncoderSource(str(tiny_encoder), "dense", 16)).state_dict()
    means = {name: weight.lerp(before[name], 0.25) for name, weight in weights[0].items()}
    assert_same_weights(weights[1], means, by=1e-6)
    # What is validated is the mean; what goes on training is not.
    assert [line["loss"] for line in reports[0]] == [line["loss"] for line in reports[1]]
    assert reports[0][-1]["validation_loss"] != reports[1][-1]["validation_loss"]


@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_training_resumes_exactly_from_the_last_checkpoint_after_a_worker_is_killed(
    unbroken: Training, tmp_path: Path, tiny_encoder: Path
) -> None:
    # In the middle of the second epoch.
    training = Training(tmp_path, tiny_encoder, kill_at_step=6, max_failures=1)
    counts = training.run()
    assert training.reports.killed()

    steps = [line["step"] for line in training.reports.read()]
    assert steps[-1] == counts["step"] == 12
    again = [step for earlier, step in pairwise(steps) if step <= earlier]
    # From the checkpoint of step 4, or of step 8 if that came before the kill: reports are two steps apart.
    assert len(again) <= 1 and set(again) <= {6, 10}, steps

    # Row order, dropout and optimizer resume exactly; only the order of sums differs.
    expected = unbroken.reports.read()[-1]
    assert training.reports.read()[-1]["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    assert_same_weights(training.weights(), unbroken.weights(), by=1e-4)


def test_a_training_by_one_worker_resumes_with_two(
    unbroken: Training, tmp_path: Path, tiny_encoder: Path
) -> None:
    training = Training(tmp_path, tiny_encoder, kill_at_step=6, zero_stage=0, report_every_steps=1)
    with pytest.raises(ValueError, match=r"training worker \d failed too often.*checkpoint-00000004"):
        training.run(num_workers=1)

    counts = training.run(num_workers=2)
    assert counts["step"] == 12
    # Each worker draws dropout for its texts: the losses are similar, not equal.
    expected = unbroken.reports.read()[-1]
    assert training.reports.read()[-1]["validation_loss"] == pytest.approx(
        expected["validation_loss"], rel=0.2
    )


def test_a_training_by_two_workers_resumes_with_one_and_skips_a_damaged_checkpoint(
    unbroken: Training, tmp_path: Path, tiny_encoder: Path
) -> None:
    shutil.copytree(unbroken.folder, tmp_path, dirs_exist_ok=True)
    training = Training(tmp_path, tiny_encoder, num_workers=1)
    *_, last_whole, newest = training.checkpoints()
    weights = next(newest.glob("engine/*.pt"))
    weights.write_bytes(weights.read_bytes()[:-100])
    before = training.reports.read()

    counts = training.run(epochs=4)
    assert counts["step"] == 16
    assert f"{newest} is damaged" in counts["warning"] and f"resumed from {last_whole}" in counts["warning"]
    first_step = training.reports.read()[len(before)]["step"]
    assert first_step == int(last_whole.name.split("-")[1]) + 2, "reports are two steps apart"
    assert training.reports.read()[-1]["validation_loss"] < before[-1]["validation_loss"]

    for path in training.checkpoints():
        (path / "files-0.json").unlink()
    with pytest.raises(ValueError, match=r"checkpoint-000000\d\d-\w+ is damaged .*no other checkpoint"):
        training.run(epochs=5)


def test_a_loss_that_is_not_finite_ends_training_at_once(tmp_path: Path, tiny_encoder: Path) -> None:
    training = Training(tmp_path, tiny_encoder, num_workers=1, learning_rate=1e30, max_failures=2)
    with pytest.raises(ValueError, match=r"of 12: the loss is nan; lower .*; there is no checkpoint"):
        training.run()
    assert not (tmp_path / "student").exists()


def test_a_sparse_student_with_a_frozen_response_encoder_stops_early(
    tmp_path: Path, tiny_sparse_encoder: Path
) -> None:
    training = Training(
        tmp_path,
        tiny_sparse_encoder,
        kind="sparse",
        encoders="frozen_responses",
        sparsity={"context_terms": 4},
        zero_stage=2,
        gradient_cache=True,
        precision="bf16",
        epochs=20,
        early_stopping=2,
    )
    counts = training.run()
    assert counts["step"] < counts["steps"] == 80

    history = [line["validation_mrr"] for line in training.reports.read() if "validation_mrr" in line]
    assert max(history) == max(history[:-2]), "the last two validations did not improve"
    assert counts["validation_context_terms"] == pytest.approx(4, rel=0.1)
    assert "warning" not in counts

    student, before = training.student(), load_encoder(EncoderSource(str(tiny_sparse_encoder), "sparse", 16))
    texts = ["w1 w1", "w2 w0"]
    unchanged = embed_texts(student, texts, "response") - embed_texts(before, texts, "response")
    assert abs(unchanged).max() == 0
    changed = embed_texts(student, texts, "context") - embed_texts(before, texts, "context")
    assert abs(changed).max() > 0.01
    assert embed_texts(student, [f"w{i}" for i in range(30)], "context").nnz / 30 == pytest.approx(
        4, rel=0.15
    )


@pytest.mark.parametrize("num_layers", [0, 1])
def test_frozen_layers_stay_as_they_are_on_any_number_of_workers(
    num_layers: int, tmp_path: Path, tiny_encoder: Path
) -> None:
    settings = {"encoders": "separate", "frozen_layers": num_layers, "zero_stage": 2}
    training = Training(tmp_path, tiny_encoder, **settings)
    training.run(epochs=1)
    assert training.run(epochs=2, num_workers=1)["step"] == 8

    before = dict(separate_encoders(load_encoder(EncoderSource(str(tiny_encoder), "dense", 16))).state_dict())
    changed = {name for name, weight in training.weights().items() if not weight.equal(before[name])}
    # The pooler is not on the way to the vectors.
    unchanged = {name for name in before if name not in changed and "pooler" not in name}
    frozen = ("embeddings.", *(f"layer.{number}." for number in range(num_layers)))
    assert unchanged == {name for name in before if any(part in name for part in frozen)}


def test_a_sparse_models_embeddings_score_its_terms_and_are_not_frozen(tiny_sparse_encoder: Path) -> None:
    model = build_model(StudentConfig(kind="sparse", model=str(tiny_sparse_encoder), frozen_layers=1))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_targets_without_training_rows_are_rejected(tmp_path: Path, tiny_encoder: Path) -> None:
    training = Training(tmp_path, tiny_encoder)
    write_rows(str(tmp_path / "targets"), target_rows(5, "test"), TARGETS)
    with pytest.raises(ValueError, match="targets: no training rows"):
        training.run()
