"""sentence-transformers' own trainer, as its documentation has it, for benchmarks/training.py."""

import math
import tempfile
import time
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss, MultipleNegativesRankingLoss
from sentence_transformers.util import pairwise_cos_sim
from training_ways import (
    ALPHA,
    CANDIDATES,
    CONTEXTS_PER_STEP,
    LEARNING_RATE,
    MAX_TOKENS,
    SCALE,
    THREADS,
    TURNS,
    Result,
    in_our_order,
    summary,
)
from transformers import TrainerCallback

from student.text import context_text


class BothLosses(torch.nn.Module):
    """The two losses of sentence-transformers on one encoding."""

    def __init__(self, encoder: SentenceTransformer) -> None:
        super().__init__()
        self.model = encoder
        self.ranking = MultipleNegativesRankingLoss(encoder, scale=SCALE)
        self.distillation = DistillKLDivLoss(
            encoder, similarity_fct=lambda one, other: SCALE * pairwise_cos_sim(one, other)
        )

    def forward(self, sentence_features: Any, labels: torch.Tensor) -> torch.Tensor:
        vectors = [self.model(features)["sentence_embedding"] for features in sentence_features]
        ranking = self.ranking.compute_loss_from_embeddings(vectors, None)
        distillation = self.distillation.compute_loss_from_embeddings(vectors, labels)
        return (1 - ALPHA) * ranking + ALPHA * distillation


class InOrder(DefaultBatchSampler):
    """Batches of consecutive rows."""

    def __iter__(self) -> Any:
        num_rows = len(self.sampler)
        for start in range(0, num_rows, CONTEXTS_PER_STEP):
            yield list(range(start, start + CONTEXTS_PER_STEP))


class Clock(TrainerCallback):
    """Notes the end of each step."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ends.append(time.perf_counter())


def columns_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """The trainer's columns: the context, each candidate and the log of target_probs."""
    columns: dict[str, list[Any]] = {"context": [context_text(row["context"], TURNS) for row in rows]}
    for number in range(CANDIDATES):
        columns[f"response{number}"] = [row["candidates"][number]["text"] for row in rows]

    columns["label"] = []
    for row in rows:
        columns["label"].append([math.log(prob) for prob in row["target_probs"]])
    return columns


def train(model: str, rows: list[dict[str, Any]]) -> Result:
    """Train with bf16 and both losses on one encoding."""
    torch.set_num_threads(THREADS)
    encoder = SentenceTransformer(model, device="cpu")
    encoder.max_seq_length = MAX_TOKENS
    clock = Clock()

    with tempfile.TemporaryDirectory() as output:
        arguments = Arguments(
            output_dir=output,
            per_device_train_batch_size=CONTEXTS_PER_STEP,
            num_train_epochs=1,
            learning_rate=LEARNING_RATE,
            bf16=True,
            use_cpu=True,
            batch_sampler=InOrder,
            save_strategy="no",
            logging_steps=1,
            report_to=[],
            disable_tqdm=True,
        )
        trainer = SentenceTransformerTrainer(
            model=encoder,
            args=arguments,
            train_dataset=Dataset.from_dict(columns_of(in_our_order(rows))),
            loss=BothLosses(encoder),
            callbacks=[clock],
        )
        trainer.train()

    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return summary(clock.ends, losses)
