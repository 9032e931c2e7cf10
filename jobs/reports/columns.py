"""Tables and their columns: the only list of titles for pages, Markdown, the terminal and W&B."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from student.evaluation.statistics import Difference, Interval

Row = Mapping[str, Any]
"""Column key -> text, number, Interval, Difference or None. It may have more than a table shows."""


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    key: str
    title: str
    format: str = ".3f"
    """Of its numbers, as `format` takes it."""

    def text(self, value: Any) -> str:
        """One cell; empty for None."""
        if value is None:
            return ""
        if isinstance(value, Difference):
            return f"{value.mean:+.3f} [{value.low:+.3f}, {value.high:+.3f}], p {value.p_value:.4f}"
        if isinstance(value, Interval):
            return f"{value.mean:.3f} [{value.low:.3f}, {value.high:.3f}]"
        return value if isinstance(value, str) else format(value, self.format)


@dataclass(frozen=True)
class Table:
    """Columns, the first of which names the rows."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]

    def select(self, *keys: str) -> "Table":
        """The same rows with the first column and those of `keys`, in the order of the table."""
        first, *others = self.columns
        return replace(self, columns=[first, *(column for column in others if column.key in keys)])

    def texts(self) -> list[list[str]]:
        """The cells of each row, as they are shown."""
        return [[column.text(row.get(column.key)) for column in self.columns] for row in self.rows]

    def markdown(self) -> list[str]:
        """The lines of a Markdown table."""
        lines = ["|" + "---|" * len(self.columns)]
        for cells in self.texts():
            lines.append(_markdown_row(cells))
        return [_markdown_row([column.title for column in self.columns]), *lines]

    def plain(self) -> tuple[list[str], list[list[Any]]]:
        """Titles and rows of plain cells: an interval has a column for each of its values."""
        titles: list[str] = []
        rows: list[list[Any]] = [[] for _ in self.rows]

        for column in self.columns:
            cells = [row.get(column.key) for row in self.rows]
            parts: list[str] = []
            for cell in cells:
                if isinstance(cell, Interval):
                    parts = list(vars(cell))
            if not parts:
                titles.append(column.title)
            for part in parts:
                titles.append(column.title if part == "mean" else f"{column.title} {part.replace('_', '-')}")
            for row, cell in zip(rows, cells, strict=True):
                row += [getattr(cell, part, None) for part in parts] or [cell]

        return titles, rows


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def table(title: str, columns: Iterable[Column], rows: Sequence[Row]) -> Table:
    """A table of those columns of which some row has a value."""
    measured = [column for column in columns if any(row.get(column.key) is not None for row in rows)]
    return Table(title, measured, rows)


def named_rows(first: Column, values: Mapping[str, Row]) -> list[Row]:
    """Rows from a mapping of names to values."""
    return [{first.key: name, **row} for name, row in values.items()]


def metric_columns(names: Iterable[str]) -> list[Column]:
    """Columns of metrics that are their own titles, such as `mrr`."""
    return [Column(name, name) for name in names]


_CONTEXTS = Column("contexts", "contexts", ",.0f")
_SPREAD = Column("spread", "spread of scores")

SYSTEM = Column("system", "system")
TEACHER = Column("teacher", "teacher")
SPEAKER = Column("speaker", "speaker")
REASON = Column("reason", "because")
TIMES = Column("times", "times", ",d")
STAGE = Column("stage", "stage")
SECONDS = Column("seconds", "seconds", ",.0f")
AGAINST = Column("against", "against")
SEEDS = Column("seeds", "seeds", "d")

CLAIMS = (
    Column("claim", "claim"),
    Column("difference", "difference, p corrected"),
    Column("metric", "measure"),
    Column("held_out", "contexts"),
    SYSTEM,
    Column("over", "over"),
)
LABEL_CURVE = (
    Column("conversations", "conversations with human responses"),
    Column("responses", "human responses", ",d"),
    Column("with_teachers", "with teachers"),
    Column("without_teachers", "without"),
    Column("difference", "difference, p corrected"),
)
PLAN = (
    Column("work", "work"),
    Column("rows", "rows", ",d"),
    Column("unit", "of them"),
    Column("stored", "in the store", ",d"),
    Column("tokens", "tokens", ",.0f"),
    Column("rows_per_s", "rows/s of one", ",.2f"),
    Column("hours", "hours", ",.2f"),
    Column("dollars", "dollars", ",.2f"),
)

SPARSITY = (
    Column("context_terms", "context terms", ",.1f"),
    Column("response_terms", "response terms", ",.1f"),
    Column("flops", "FLOPs"),
)
RANKING = (
    *metric_columns(("hits@1/20", "mrr", "recall@1", "recall@10", "recall@100", "ndcg@10")),
    _CONTEXTS,
    Column("responses", "responses", ",.0f"),
    *SPARSITY,
)
ECHOES = metric_columns(("hits@1/20+own", "own_turn@1", "echo@1"))
CONVERSATIONS = (
    Column("verbatim_repeats", "verbatim repeats"),
    Column("near_repeats", "near repeats"),
    Column("echoes", "echoes"),
    Column("distinct_answers", "distinct answers"),
    Column("no_answer", "no answer"),
    Column("conversations", "conversations", ",.0f"),
    Column("turns", "turns", ",.0f"),
)
COVERAGE = (
    Column("coverage", "contexts answered", ".0%"),
    Column("max_cross_entropy", "most nats a word"),
    Column("hits@1/20", "hits@1/20 of the answered"),
)
CROSS_ENTROPY = Column("cross_entropy", "cross-entropy, nats")
ENTROPY = Column("entropy", "entropy, nats")
_RANKS = metric_columns(("hits@1/20", "mrr", "own_turn>gold"))
TEACHER_MEASURES = (*_RANKS, CROSS_ENTROPY, ENTROPY, _SPREAD, _CONTEXTS)

RATINGS = (
    Column("spearman", "Spearman"),
    Column("spearman_within", "Spearman, within a context"),
    Column("kendall", "Kendall"),
    Column("kendall_within", "Kendall, within a context"),
)
RESPONSE_TIMES = (
    Column("p50_ms", "p50 ms", ",.1f"),
    Column("p95_ms", "p95 ms", ",.1f"),
    Column("requests", "requests", ",d"),
)
ANSWERS = (
    Column("distinct_1", "distinct-1"),
    Column("distinct_2", "distinct-2"),
    Column("words", "words"),
    Column("generated_share", "generated"),
)
WINS_OVER_HUMAN = Column("win_rate_human", "wins over human responses")
WINS_OVER_GENERATED = Column("win_rate_generated", "wins over generated responses")
WINS_OVER_UNTRAINED = Column("win_rate_baseline", "wins over the untrained student's")
JUDGEMENTS = (
    WINS_OVER_UNTRAINED,
    Column("win_rate_against", "wins over"),
    Column("against", "this system"),
    WINS_OVER_HUMAN,
    WINS_OVER_GENERATED,
    Column("score", "the judge's score"),
    Column("trained", "trained it"),
)
CURVES = (Column("validation_mrr", "mrr on validation"), Column("loss", "training loss"))
VALIDATION = (
    Column("step", "step", ",d"),
    Column("loss", "training loss"),
    Column("validation_loss", "loss"),
    Column("validation_mrr", "mrr"),
    Column("validation_hits@1/20", "hits@1/20"),
    Column("validation_context_terms", "context terms", ",.1f"),
    Column("validation_response_terms", "response terms", ",.1f"),
    Column("validation_flops", "FLOPs"),
)
PARITY = (
    Column("side", "side"),
    Column("file", "file"),
    Column("megabytes", "MB", ".1f"),
    Column("max_abs_difference", "max difference", ".1e"),
    Column("mean_abs_difference", "mean difference", ".1e"),
    Column("mean_cosine", "mean cosine", ".4f"),
    Column("mean_jaccard", "overlap of terms"),
    Column("latency_ms", "ms", ".1f"),
    Column("torch_latency_ms", "torch ms", ".1f"),
)
SHARES = metric_columns(("expected", "planned", "obtained"))
DIVERSITY = (
    Column("turns", "turns", ",d"),
    Column("words", "words"),
    Column("distinct_1", "distinct-1"),
    Column("distinct_2", "distinct-2"),
    Column("self_bleu", "self-BLEU"),
    Column("spread", "spread"),
    Column("near_duplicates", "near duplicates"),
)
