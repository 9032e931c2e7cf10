"""A judge that taught nobody, and how far it agrees with people.

A cross-encoder learns to tell people's replies from others, in contexts of training conversations: from two
random replies and one that shares words with the context. It is measured on validation conversations and on
USR's ratings. For `compare.judges` of configs/answers.yaml; about eight minutes on two cores:

python benchmarks/judge.py --output runs/judge
"""

import argparse
import json
import os
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder import CrossEncoderTrainer
from sentence_transformers.cross_encoder import CrossEncoderTrainingArguments as Arguments
from sentence_transformers.cross_encoder.losses import ListNetLoss

from student.encoders.packaged import resolve_model
from student.evaluation.bm25 import RESPONSE_BM25, bm25_scores
from student.text import context_text
from teachers.config import SimilarityTeacher
from teachers.corpora.config import ExamplesConfig
from teachers.corpora.examples import write_examples
from teachers.dataset import read_rows
from teachers.engines.protocol import Group
from teachers.engines.similarity import Similarity
from teachers.hardware import cpu_computes_bfloat16
from teachers.scoring.ratings import rank_correlations, read_ratings

RATINGS = "../shared/data/usr_topical_chat/turn.jsonl.gz"
MODEL, MAX_TOKENS, TURNS = "all-minilm-l6-v2", 128, 2
CONTEXTS, VALIDATION_CONTEXTS, CONTEXTS_PER_STEP, LEARNING_RATE = 3000, 400, 16, 5e-5
# Ranks by BM25 from which a negative is drawn: those before may be right, too.
HARD_RANKS = (10, 60)

Rows = list[dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/judge"))
    parser.add_argument("--quick", action="store_true", help="a tenth of the contexts, and no folder is kept")
    options = parser.parse_args()

    torch.set_num_threads(os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as scratch:
        config = ExamplesConfig(
            max_train=CONTEXTS // 10 if options.quick else CONTEXTS, max_validation=VALIDATION_CONTEXTS
        )
        write_examples(f"{scratch}/examples", f"{scratch}/replies", f"{scratch}/rejected", config)
        replies = [row["response"] for row in read_rows(f"{scratch}/replies")]
        train, validation = (read_rows(f"{scratch}/examples", split) for split in ("train", "validation"))

        output = Path(scratch) / "judge" if options.quick else options.output
        fit(train, replies, output, scratch)
        print(json.dumps(agreement(Similarity("judge", judge_config(output)), validation)))


def fit(rows: Rows, replies: list[str], output: Path, scratch: str) -> None:
    """Train the judge and write its folder."""
    draw = random.Random(0)
    data: dict[str, list[Any]] = {"context": [], "responses": [], "labels": []}
    for row, hard in zip(rows, hard_negatives(rows, replies, draw), strict=True):
        data["context"].append(context_text(row["context"], TURNS))
        data["responses"].append([row["gold_response"], hard, *draw.sample(replies, 2)])
        # ListNet takes the softmax of the labels for a target.
        data["labels"].append([20.0, 0.0, 0.0, 0.0])

    model = CrossEncoder(resolve_model(MODEL), num_labels=1, max_length=MAX_TOKENS, device="cpu")
    arguments = Arguments(
        scratch,
        num_train_epochs=1,
        per_device_train_batch_size=CONTEXTS_PER_STEP,
        learning_rate=LEARNING_RATE,
        warmup_steps=0.1,
        bf16=cpu_computes_bfloat16(),
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        logging_steps=50,
    )
    trainer = CrossEncoderTrainer(model, arguments, Dataset.from_dict(data), loss=ListNetLoss(model))
    trainer.train()
    model.save_pretrained(str(output))


def hard_negatives(rows: Rows, replies: list[str], draw: random.Random) -> list[str]:
    """Another reply for each context, with words of its two newest turns."""
    queries = [context_text(row["context"], TURNS) for row in rows]
    negatives: list[str] = []
    for row, scores in zip(rows, bm25_scores(replies, queries, RESPONSE_BM25), strict=True):
        ranked = np.argsort(-scores, kind="stable")[HARD_RANKS[0] : HARD_RANKS[1]]
        others = [replies[place] for place in ranked if replies[place] != row["gold_response"]]
        negatives.append(draw.choice(others))
    return negatives


def judge_config(folder: Path) -> SimilarityTeacher:
    return SimilarityTeacher(
        kind="similarity",
        model=str(folder),
        context_turns=TURNS,
        max_tokens=MAX_TOKENS,
        num_cpus=os.cpu_count() or 1,
    )


def agreement(judge: Similarity, rows: Rows) -> dict[str, Any]:
    """How often the judge prefers the human reply, and its rank correlations with USR's overall ratings."""
    draw = random.Random(1)
    golds = [row["gold_response"] for row in rows]
    hard = hard_negatives(rows, golds, draw)
    groups = []
    for row, lexical in zip(rows, hard, strict=True):
        echo = row["context"][-1]["content"]
        groups.append(Group(row["context"], [row["gold_response"], echo, lexical, *draw.sample(golds, 19)]))
    scores = np.array([[pair.similarity for pair in pairs] for pairs in judge.score(groups)])
    human, echo, lexical, others = scores[:, 0], scores[:, 1], scores[:, 2], scores[:, 3:]

    rated = read_ratings(RATINGS)
    judged = judge.score([Group(response.messages, [response.response]) for response in rated])
    correlations = rank_correlations(
        np.array([pairs[0].similarity for pairs in judged]),
        np.array([response.overall for response in rated]),
        [response.context_id for response in rated],
    )
    return {
        "human over random": float((human > others[:, 0]).mean()),
        "human over lexical": float((human > lexical).mean()),
        "human over echo": float((human > echo).mean()),
        "hits@1/20": float((human > others.max(axis=1)).mean()),
        "spearman": correlations["spearman"],
        "spearman within contexts": correlations["spearman within contexts"],
    }


if __name__ == "__main__":
    main()
