"""What a synthesis was to be and what it is: shares along every axis, and how varied its turns are."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import sacrebleu
from rich.table import Table

from jobs.distillation.stages import embedding
from jobs.execution.run_directory import RunDirectory
from jobs.reports.terminal import console
from student.encoders.encoder import EncoderSource, Tally, Vectors, texts_to_vectors
from student.encoders.packaged import resolve_model
from student.evaluation.diversity import distinct_n, num_words
from teachers.dataset import Rows
from teachers.generation.near_duplicates import near_duplicates
from teachers.scratch import hash_64
from teachers.synthesis.conversation_graph import Graph, expected_shares

KIND, PHENOMENON, NONE = "kind of turn", "phenomenon", "(none)"
# Self-BLEU compares each text with all others, and the more texts, the more repeats: of as many, at most.
_SAMPLED = 300
# Millions would not fit in memory, and fewer distinct n-grams come of more text.
_MEASURED = 20_000
_NEAR = 0.7  # Jaccard similarity of word 3-shingles, as in `filters.near_duplicates`
_RETRIEVER = "all-MiniLM-L6-v2"
_MEASURES = ("turns", "words", "distinct_1", "distinct_2", "self_bleu", "spread", "near_duplicates")


def coverage_of(run: RunDirectory, graph: Graph) -> dict[str, Any]:
    """`axes`: by name the shares `wanted` (by the graph), `planned` and `obtained` of each value, and the
    `distance` between the first and the last (total variation, 0 to 1). `diversity`: of each speaker's turns.
    """
    wanted = _wanted(graph)
    planned, obtained = (_counted(run.at(dataset)) for dataset in ("plans", "conversations"))
    axes = {}
    for axis, shares in wanted.items():
        found = {
            "wanted": shares,
            "planned": _shares(planned[axis], shares),
            "obtained": _shares(obtained[axis], shares),
        }
        axes[axis] = {**found, "distance": total_variation(found["wanted"], found["obtained"])}
    texts = {speaker: drawn_turns(_turns(run, speaker), _MEASURED) for speaker in ("user", "assistant")}
    return {
        "axes": axes,
        "diversity": {
            speaker: {"turns": count, **embedding(partial(diversity, said))}
            for speaker, (said, count) in texts.items()
            if said
        },
    }


def total_variation(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Half the sum of the differences: the share that would have to move."""
    return sum(abs(one[name] - other[name]) for name in one) / 2


def _wanted(graph: Graph) -> dict[str, dict[str, float]]:
    kinds = expected_shares(graph)
    phenomena = {
        name: sum(share * graph.vertices[kind].phenomena.get(name, 0.0) for kind, share in kinds.items())
        for name in graph.phenomena
    }
    axes = {axis: {name: value.share for name, value in of.items()} for axis, of in graph.axes.items()}
    return {**axes, KIND: kinds, PHENOMENON: {**phenomena, NONE: 1 - sum(phenomena.values())}}


def _counted(uri: str) -> dict[str, Counter[str]]:
    """By axis how often each value is in a dataset of PLANS or SYNTHESISED."""
    found: dict[str, Counter[str]] = {KIND: Counter(), PHENOMENON: Counter()}
    for row in Rows(uri):
        for axis, value in row["axes"]:
            found.setdefault(axis, Counter())[value] += 1
        for turn in row["turns"]:
            found[KIND][turn["vertex"]] += 1
            found[PHENOMENON][turn["phenomenon"] or NONE] += 1
    return found


def _shares(counts: Counter[str], names: Iterable[str]) -> dict[str, float]:
    return {name: counts[name] / max(1, counts.total()) for name in names}


def _turns(run: RunDirectory, speaker: str) -> Iterator[str]:
    for row in Rows(run.at("conversations")):
        yield from (message["content"] for message in row["messages"] if message["role"] == speaker)


def drawn_turns(turns: Iterable[str], limit: int) -> tuple[list[str], int]:
    """Up to `limit` of the turns, each as likely as any other, and how many there are."""
    generator, count = random.Random(0), 0
    kept: list[str] = []
    for count, turn in enumerate(turns, start=1):
        if len(kept) < limit:
            kept.append(turn)
        elif (place := generator.randrange(count)) < limit:
            kept[place] = turn
    return kept, count


def diversity(texts: Sequence[str], tally: Tally) -> dict[str, float]:
    """Of all `texts` the mean length, distinct-1 and -2, and the share with a near duplicate; of a sample of
    them self-BLEU (Zhu et al., 2018: each against all others, 0 to 1, lower is more varied) and the mean
    cosine distance of their embeddings.
    """
    near, repeats = near_duplicates(texts, _NEAR), Counter(texts)
    sample = random.Random(0).sample(list(texts), min(_SAMPLED, len(texts)))
    source = EncoderSource(resolve_model(_RETRIEVER), "dense", 64)
    vectors = texts_to_vectors({"response": sample}, source, tally)["response"]
    return {
        "words": sum(map(num_words, texts)) / len(texts),
        "distinct_1": distinct_n(texts, 1),
        "distinct_2": distinct_n(texts, 2),
        "self_bleu": self_bleu(sample),
        "spread": mean_distance(vectors),
        "near_duplicates": sum(
            count for text, count in repeats.items() if count > 1 or hash_64(text.encode()) in near
        )
        / len(texts),
    }


def self_bleu(texts: Sequence[str]) -> float:
    """The mean BLEU of each text with all others as its references; 0 for fewer than two."""
    if len(texts) < 2:
        return 0.0
    scores = [
        sacrebleu.sentence_bleu(text, [*texts[:place], *texts[place + 1 :]]).score
        for place, text in enumerate(texts)
    ]
    return float(sum(scores)) / len(scores) / 100


def mean_distance(vectors: Vectors) -> float:
    """1 less the mean cosine of every two of the vectors [N, D], of length one; 0 for fewer than two."""
    count = len(vectors)
    if count < 2:
        return 0.0
    total = np.asarray(vectors, np.float64).sum(axis=0)
    return float(1 - (total @ total - count) / (count * (count - 1)))


def print_coverage(found: Mapping[str, Any]) -> None:
    """Tables of the shares and of diversity."""
    table = Table(title="shares of conversations and turns")
    for title in ("axis", "value", "wanted", "planned", "obtained"):
        table.add_column(title, justify="left" if title in ("axis", "value") else "right")
    for axis, shares in found["axes"].items():
        table.add_section()
        for place, name in enumerate(shares["wanted"]):
            label = f"{axis} (distance {shares['distance']:.3f})" if place == 0 else ""
            table.add_row(
                label, name, *(f"{shares[part][name]:.3f}" for part in ("wanted", "planned", "obtained"))
            )
    console().print(table)
    varied = Table(title="diversity of turns")
    varied.add_column("speaker")
    for measure in _MEASURES:
        varied.add_column(measure.replace("_", " "), justify="right")
    for speaker, values in found["diversity"].items():
        cells = [f"{values[name]:.0f}" if name == "turns" else f"{values[name]:.3f}" for name in _MEASURES]
        varied.add_row(speaker, *cells)
    console().print(varied)
