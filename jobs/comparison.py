"""What a comparison found, as one dictionary of plain values: the page, the Markdown and W&B show it."""

import datetime
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.comparison_config import BM25, UNTRAINED, UNTRAINED_SPARSE, ComparisonConfig
from jobs.judging import generative_scorers, held_out_rows
from jobs.ladder import OUT_OF_DOMAIN, seed_job
from jobs.run_directory import circumstances
from jobs.stages import Job, scorers, scores_uris
from jobs.tracking import TrainingReports
from student.diversity import distinct_n, mean_words
from student.evaluation import HeldOut
from student.statistics import interval, paired_difference, seed_deviation
from teachers.calibration import calibrate
from teachers.ratings import rating_correlations, read_ratings
from teachers.records import read_rows
from teachers.targets import read_scores

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

    def answers(self) -> dict[str, list[str]]:
        """example_id -> the best responses of the first seed, on the split `test`."""
        first = next(iter(self._rows["test"].values()))
        return {row["example_id"]: row["answers"] for row in first}


def top_answers(results: dict[str, Results]) -> dict[str, dict[str, str]]:
    """System -> example_id -> its answer."""
    return {
        name: {example_id: answers[0] for example_id, answers in found.answers().items()}
        for name, found in results.items()
    }


def comparison(
    base: Job,
    config: ComparisonConfig,
    systems: dict[str, Job],
    results: dict[str, Results],
    sets: dict[str, HeldOut],
) -> dict[str, Any]:
    """All figures; see `jobs.page` for what is made of them."""
    where = circumstances()
    return {
        "title": f"Comparison {base.run.uri.rsplit('/', 1)[-1]}",
        "date": datetime.date.today().isoformat(),
        "machine": where["machine"],
        "command": " ".join(where["command"]),
        "git_commit": where["git_commit"],
        "versions": where["packages"],
        "seeds": config.compare.seeds,
        "notes": _notes(base, config),
        "tables": [_table(name, held_out, config, systems, results) for name, held_out in sets.items()],
        "answers": [_answers_of(name, base, config, systems, results) for name in config.systems()],
        "sparsity": _sparsity(systems),
        "learning_curves": {name: _curves(systems[name], config, name) for name in config.compare.ladder},
        "teachers": _teachers(base, config),
        "filters": base.run.read_json("stages", "generate.json")["counts"],
        "latency": _latency(base, config),
        "reading": _reading(base, config, results),
    }


def _notes(base: Job, config: ComparisonConfig) -> list[str]:
    examples = base.run.read_json("stages", "examples.json")["counts"]
    seen = base.run.read_json("stages", "contexts.json")["counts"]["contexts"]
    return [
        f"{examples['train examples']} training contexts, of which the teachers saw {seen}; "
        f"{len(config.compare.seeds)} seeds of every trained system. Intervals are 95 %, by a bootstrap over "
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
    rows = []
    for system in config.systems():
        metrics = results[system].metrics(name)
        rows.append(
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
                            metric: asdict(
                                paired_difference(results[other].metrics(name)[metric], values, groups)
                            )
                            for metric, values in metrics.items()
                        },
                    }
                    for other in _against(system, config)
                ],
            }
        )
    return {
        "name": title,
        "explanation": explanation,
        "contexts": len(held_out.contexts),
        "conversations": len(set(groups)),
        "responses": len(held_out.responses),
        "rows": rows,
    }


def _against(system: str, config: ComparisonConfig) -> list[str]:
    rows = config.systems()
    place = rows.index(system)
    named = config.compare.ladder[system].against if system in config.compare.ladder else []
    return named or rows[max(0, place - 1) : place]


def _kind(system: str, systems: dict[str, Job]) -> str:
    if system in (BM25, UNTRAINED, UNTRAINED_SPARSE):
        return "baseline"
    return systems[system].config.student.kind


def _answers_of(
    system: str,
    base: Job,
    config: ComparisonConfig,
    systems: dict[str, Job],
    results: dict[str, Results],
) -> dict[str, Any]:
    answers = top_answers({system: results[system]})[system]
    source = {row["text"]: row["source"] for row in read_rows(base.run.at("response_set"))}
    texts = list(answers.values())
    return {
        "system": system,
        "distinct_1": distinct_n(texts, 1),
        "distinct_2": distinct_n(texts, 2),
        "words": mean_words(texts),
        "generated_share": float(np.mean([source[text] == "generated" for text in texts])),
        "judgements": _judgements(system, base, config, systems, answers),
    }


def _judgements(
    system: str,
    base: Job,
    config: ComparisonConfig,
    systems: dict[str, Job],
    answers: dict[str, str],
) -> list[dict[str, Any]]:
    """What each judge says; a judge that trained the system is left out where there is another."""
    rows = read_rows(base.run.at("judged", "candidates"))
    if not rows:
        return []
    groups = {row["example_id"]: row["conversation_id"] for row in held_out_rows(base, len(rows))}
    trained_by = _trained_by(system, config, systems)
    judges = list(generative_scorers(base))
    impartial = [judge for judge in judges if judge not in trained_by]
    found = []
    for judge in impartial or judges:
        scores = read_scores(
            rows, {judge: base.run.at("judged", "scores", judge)}, "pointwise_mutual_information"
        )["test"]
        judged = _JudgedAnswers()
        for row in rows:
            if row["example_id"] in scores:
                judged.add(row, scores[row["example_id"]][0], answers[row["example_id"]], groups)
        if judged.groups:
            found.append({"teacher": judge, "trained_on": judge in trained_by, **judged.measures()})
    return found


class _JudgedAnswers:
    """One judge's scores of one system's answers, beside those of the replies they are held against."""

    def __init__(self) -> None:
        self.groups: list[str] = []
        self._columns: dict[str, list[float]] = {
            "mutual_information": [],
            "win_rate_human": [],
            "win_rate_generated": [],
        }

    def add(self, row: dict[str, Any], scores: Values, answer: str, groups: dict[str, str]) -> None:
        """`scores` [K] of the row's candidates; a context with a missing score is left out."""
        by_text = {
            candidate["text"]: score for candidate, score in zip(row["candidates"], scores, strict=True)
        }
        generated = [
            by_text[candidate["text"]]
            for candidate in row["candidates"]
            if candidate["source"] == "generated"
        ]
        own, human = by_text[answer], scores[0]
        if not np.isfinite([own, human, *generated]).all() or not generated:
            return
        self.groups.append(groups[row["example_id"]])
        self._columns["mutual_information"].append(own)
        self._columns["win_rate_human"].append(_wins(own, human))
        self._columns["win_rate_generated"].append(float(np.mean([_wins(own, other) for other in generated])))

    def measures(self) -> dict[str, Any]:
        """The mean and interval of each."""
        return {
            name: asdict(interval(np.array([values]), self.groups)) for name, values in self._columns.items()
        }


def _wins(own: float, other: float) -> float:
    return 0.5 if own == other else float(own > other)


def _trained_by(system: str, config: ComparisonConfig, systems: dict[str, Job]) -> set[str]:
    """Teachers that had a say in what the system learned, by their scores or by what they wrote."""
    if _kind(system, systems) == "baseline":
        return set()
    own = systems[system].config
    scored = set()
    if own.student.kl_weight or own.student.margin_mse_weight:
        weights = own.targets.weights
        scored = {name for name in own.teachers if not isinstance(weights, dict) or weights.get(name, 1.0)}
    wrote = set(generative_scorers(systems[system])) if own.candidates.generated_per_teacher else set()
    return scored | wrote


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
    curves = {}
    for seed in config.compare.seeds:
        job = seed_job(system, config.system(name, seed), seed)
        key = job.run.read_json("stages", "train.json")["key"]
        lines = TrainingReports(job.run, ("train", key, "history.jsonl"), job.tracker).lines()
        wanted = ("step", "loss", "validation_mrr", "validation_hits@1/20", "validation_loss")
        curves[str(seed)] = [{name: line[name] for name in wanted if name in line} for line in lines]
    return curves


def _teachers(base: Job, config: ComparisonConfig) -> dict[str, Any]:
    measures = calibrate(base.run.at("candidates"), scores_uris(base), config.targets, "test")
    agreement = measures.pop("kendall_tau")
    return {"measures": measures, "kendall_tau": agreement, "ratings": _ratings(base, config)}


def _ratings(base: Job, config: ComparisonConfig) -> list[dict[str, Any]]:
    if config.compare.ratings is None or base.run.read_json("stages", "rate.json") is None:
        return []
    found = rating_correlations(
        read_ratings(config.compare.ratings),
        base.run.at("rated", "candidates"),
        {name: base.run.at("rated", "scores", name) for name in scorers(base)},
        config.targets,
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
    marker = base.run.read_json("stages", "latency.json")
    if marker is None:
        return None
    counts = marker["counts"]
    return {
        "teachers": {name: found for name, found in counts["teachers"].items() if found},
        "students": {config.compare.served: counts["student"]},
        "note": "A teacher writes 32 tokens, alone in its actor and asked one conversation at a time; "
        "the student answers one request at a time over HTTP, through Ray Serve. One machine, one run.",
    }


def _reading(base: Job, config: ComparisonConfig, results: dict[str, Results]) -> list[dict[str, Any]]:
    source = {row["text"]: row["source"] for row in read_rows(base.run.at("response_set"))}
    answers = top_answers(results)
    return [
        {
            "context": row["context"],
            "gold": row["reply"],
            "answers": [
                {
                    "system": system,
                    "text": answers[system][row["example_id"]],
                    "source": source[answers[system][row["example_id"]]],
                }
                for system in config.systems()
            ],
        }
        for row in held_out_rows(base, config.compare.reading_contexts)
    ]
