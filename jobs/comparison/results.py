"""What a comparison found, as one dictionary of plain values: the page, the Markdown and W&B show it."""

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.comparison.config import BM25, UNTRAINED, UNTRAINED_SPARSE, ComparisonConfig
from jobs.comparison.judging import Answers, held_out_rows
from jobs.comparison.systems import OUT_OF_DOMAIN, seed_job
from jobs.comparison.win_rates import Verdicts, trained_by
from jobs.distillation.stages import scorers, scores_uris
from jobs.execution.job import Job
from jobs.execution.run_directory import provenance
from jobs.execution.tracking import TrainingReports
from student.evaluation.diversity import distinct_n, num_words
from student.evaluation.response_ranking import HeldOut
from student.evaluation.statistics import interval, paired_difference, seed_deviation
from teachers.dataset import read_rows
from teachers.generation.latency import TOKENS
from teachers.scoring.calibration import calibrate
from teachers.scoring.ratings import Rated, rating_correlations

Values = NDArray[np.float64]

_TITLES = {
    "test": ("by conversation", "Contexts of conversations that no training example comes from."),
    "test_by_sender": (
        "by sender",
        "Stricter: conversations of people who wrote nothing that was trained or tuned on.",
    ),
    OUT_OF_DOMAIN: (
        "out of domain",
        "Other people about other topics, untouched by any tuning: the true reply among 20 given candidates, "
        "and its reciprocal rank among those.",
    ),
}
_SEED_METRICS = ("hits@1/20", "mrr")


class Results:
    """What was measured of one system: set -> metric -> [S, C], and its answers."""

    def __init__(self, job: Job) -> None:
        self._rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for row in read_rows(job.run.at("measured")):
            self._rows.setdefault(row["set"], {}).setdefault(row["model"], []).append(row)

    @property
    def num_models(self) -> int:
        return len(self._rows["test"])

    def metrics(self, held_out: str) -> dict[str, Values]:
        """Metric -> [S, C] on a set."""
        by_model = list(self._rows[held_out].values())
        names = [name for name, _ in by_model[0][0]["metrics"]]
        return {
            name: np.array([[dict(row["metrics"])[name] for row in rows] for rows in by_model])
            for name in names
        }

    def answers(self) -> dict[str, str]:
        """example_id -> the best response by the first seed's student, on the split `test`."""
        first = next(iter(self._rows["test"].values()))
        return {row["example_id"]: row["answers"][0] for row in first}


def comparison(
    base: Job,
    config: ComparisonConfig,
    systems: dict[str, Job],
    results: dict[str, Results],
    sets: dict[str, HeldOut],
    ratings: list[Rated],
) -> dict[str, Any]:
    """All figures; see `jobs.reports.comparison_page` for what is made of them."""
    print("intervals and tests:", flush=True)
    answers = {name: found.answers() for name, found in results.items()}
    return {
        "title": f"Comparison of systems: {base.run.uri.rsplit('/', 1)[-1]}",
        **provenance(),
        "seeds": config.compare.seeds,
        "notes": _notes(base, config),
        "tables": [_table(name, held_out, config, systems, results) for name, held_out in sets.items()],
        "answers": _answers(base, config, systems, answers),
        "sparsity": _sparsity(systems),
        "learning_curves": {name: _curves(systems[name], config, name) for name in config.compare.ladder},
        "teachers": _teachers(base, ratings),
        "filters": base.run.read_json("stages", "generate.json")["counts"],
        "latency": _latency(base, config),
        "reading": _reading(base, config, answers),
    }


def _notes(base: Job, config: ComparisonConfig) -> list[str]:
    examples = base.run.read_json("stages", "examples.json")["counts"]
    seen = base.run.read_json("stages", "contexts.json")["counts"]["contexts"]
    trainings = "one training" if len(config.compare.seeds) == 1 else f"{len(config.compare.seeds)} trainings"
    return [
        f"{examples['train examples']} training contexts, of which the teachers saw {seen}; "
        f"{trainings} of every system but the baselines. Intervals are 95 %, by a bootstrap over "
        "conversations; p-values by a paired randomisation test over conversations, not corrected for their "
        "number. Each student is the checkpoint with the best validation MRR."
    ]


def _table(
    name: str,
    held_out: HeldOut,
    config: ComparisonConfig,
    systems: dict[str, Job],
    results: dict[str, Results],
) -> dict[str, Any]:
    title, explanation = _TITLES[name]
    groups = held_out.conversation_ids
    measured = {system: found.metrics(name) for system, found in results.items()}
    return {
        "name": title,
        "explanation": explanation,
        "contexts": len(held_out.contexts),
        "conversations": len(set(groups)),
        "responses": len(held_out.responses),
        "rows": [
            {
                "system": system,
                "kind": _kind(system, systems),
                "seeds": results[system].num_models,
                "metrics": {metric: asdict(interval(values, groups)) for metric, values in metrics.items()},
                "seed_deviation": {
                    metric: seed_deviation(metrics[metric])
                    for metric in _SEED_METRICS
                    if results[system].num_models > 1
                },
                "against": [
                    {
                        "system": other,
                        "differences": {
                            metric: asdict(paired_difference(measured[other][metric], values, groups))
                            for metric, values in metrics.items()
                        },
                    }
                    for other in _against(system, config, list(systems))
                ],
            }
            for system, metrics in measured.items()
        ],
    }


def _against(system: str, config: ComparisonConfig, rows: list[str]) -> list[str]:
    if system not in config.compare.ladder:
        return [BM25] if system != BM25 else []
    return config.compare.ladder[system].against or [rows[rows.index(system) - 1]]


def _kind(system: str, systems: dict[str, Job]) -> str:
    if system in (BM25, UNTRAINED, UNTRAINED_SPARSE):
        return "baseline"
    return systems[system].config.student.kind


def _answers(
    base: Job, config: ComparisonConfig, systems: dict[str, Job], answers: Answers
) -> list[dict[str, Any]]:
    source = {row["text"]: row["source"] for row in read_rows(base.run.at("response_set"))}
    conversations = {
        row["example_id"]: row["conversation_id"] for row in held_out_rows(base, config.evaluate.contexts)
    }
    verdicts = Verdicts(base, config.compare.judged_contexts)
    found = []
    for system, job in systems.items():
        texts = list(answers[system].values())
        groups = [conversations[example_id] for example_id in answers[system]]
        teachers = trained_by(job) if system in config.compare.ladder else set()
        found.append(
            {
                "system": system,
                "distinct_1": distinct_n(texts, 1),
                "distinct_2": distinct_n(texts, 2),
                "words": asdict(interval(np.array([[float(num_words(text)) for text in texts]]), groups)),
                "generated_share": asdict(
                    interval(np.array([[float(source[text] == "generated") for text in texts]]), groups)
                ),
                "judgements": verdicts.of(answers[system], teachers),
            }
        )
    return found


def _sparsity(systems: dict[str, Job]) -> dict[str, dict[str, float]]:
    found = {}
    for name, job in systems.items():
        by_model = list(job.run.read_json("stages", "measure.json")["counts"]["sparsity"].values())
        if by_model:
            found[name] = {
                metric: float(np.mean([values[metric] for values in by_model])) for metric in by_model[0]
            }
    return found


def _curves(system: Job, config: ComparisonConfig, name: str) -> dict[str, list[dict[str, float]]]:
    wanted = ("step", "loss", "validation_mrr", "validation_hits@1/20", "validation_loss")
    curves = {}
    for seed in config.compare.seeds:
        job = seed_job(system, config, name, seed)
        lines = TrainingReports(job.run, ("train", job.keys["train"], "history.jsonl"), job.tracker).lines()
        curves[str(seed)] = [{name: line[name] for name in wanted if name in line} for line in lines]
    return curves


def _teachers(base: Job, ratings: list[Rated]) -> dict[str, Any]:
    measures = calibrate(base.run.at("candidates"), scores_uris(base), base.config.targets, "test")
    agreement = measures.pop("kendall_tau")
    return {"measures": measures, "kendall_tau": agreement, "ratings": _correlations(base, ratings)}


def _correlations(base: Job, ratings: list[Rated]) -> list[dict[str, Any]]:
    if not ratings:
        return []
    found = rating_correlations(
        ratings,
        base.run.at("judged", "candidates"),
        {name: base.run.at("judged", "scores", name) for name in scorers(base)},
        base.config.targets,
    )
    keys = {
        "spearman": "spearman",
        "kendall": "kendall_tau",
        "spearman_within": "spearman within contexts",
        "kendall_within": "kendall_tau within contexts",
    }
    return [
        {"scorer": scorer, **{short: values[key] for short, key in keys.items() if key in values}}
        for scorer, values in found.items()
    ]


def _latency(base: Job, config: ComparisonConfig) -> dict[str, Any] | None:
    if not config.compare.timed_requests:
        return None
    counts = base.run.read_json("stages", "latency.json")["counts"]
    return {
        "teachers": {name: found for name, found in counts["teachers"].items() if found},
        "students": {config.compare.served: counts["student"]},
        "note": f"A teacher writes {TOKENS} tokens, alone in its actor and asked one conversation at a time; "
        "the student answers one request at a time over HTTP, through Ray Serve. One machine, one run.",
    }


def _reading(base: Job, config: ComparisonConfig, answers: Answers) -> list[dict[str, Any]]:
    source = {row["text"]: row["source"] for row in read_rows(base.run.at("response_set"))}
    return [
        {
            "context": row["context"],
            "gold": row["gold_response"],
            "answers": [
                {"system": system, "text": text, "source": source[text]}
                for system, of in answers.items()
                for text in (of[row["example_id"]],)
            ],
        }
        for row in held_out_rows(base, config.compare.reading_contexts)
    ]
