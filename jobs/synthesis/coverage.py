"""Coverage of a synthesis, and its report: shares along every axis, and the diversity of its turns."""

import logging
from collections.abc import Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, get_args

from jobs.execution.job import Job
from jobs.execution.progress import embedding
from jobs.execution.run_directory import RunDirectory, provenance
from jobs.reports.columns import (
    DIVERSITY,
    REASON,
    SHARES,
    SPEAKER,
    TIMES,
    Column,
    Row,
    Table,
    named_rows,
    table,
)
from jobs.reports.comparison_charts import table_chart
from jobs.reports.pages import environment
from jobs.reports.terminal import print_table
from jobs.synthesis.config import SynthesisJobConfig
from student.encoders.encoder import EncoderSource
from student.encoders.packaged import resolve_model
from student.evaluation.diversity import measure_diversity, reservoir_sample
from teachers.dataset import Rows
from teachers.generation.near_duplicates import share_near_duplicates
from teachers.synthesis.conversation_graph import Graph, Speaker
from teachers.synthesis.coverage import axis_coverage, turn_texts

logger = logging.getLogger(__name__)

# Millions would not fit in memory, and fewer distinct n-grams come of more text.
_MAX_TEXTS = 20_000
_NEAR_DUPLICATES = 0.7  # Jaccard similarity of word 3-shingles, as in `filters.near_duplicates`
_NUM_SHOWN = 5  # conversations of each kind that the page shows whole
_ENCODER = "all-minilm-l6-v2"
_COLOURS = {"expected": "#6b7280", "obtained": "#1d6fb8"}
_AXIS, _VALUE = Column("axis", "axis"), Column("value", "value")


def coverage_of(run: RunDirectory, graph: Graph) -> dict[str, Any]:
    """Return `axes`, the run's `axis_coverage`, and `diversity`, by speaker the measures of its turns."""
    conversations_uri = run.at("conversations")

    diversity = {}
    for speaker in get_args(Speaker):
        texts, num_turns = reservoir_sample(turn_texts(conversations_uri, speaker), _MAX_TEXTS)
        if texts:
            encoder = EncoderSource(resolve_model(_ENCODER), "dense", 64)
            diversity[speaker] = {
                "turns": num_turns,
                **embedding(partial(measure_diversity, texts, encoder)),
                "near_duplicates": share_near_duplicates(texts, _NEAR_DUPLICATES),
            }
    return {"axes": axis_coverage(graph, run.at("plans"), conversations_uri), "diversity": diversity}


def report_coverage(job: Job[SynthesisJobConfig], coverage: dict[str, Any]) -> None:
    """Write `report/`, send the distances to the tracker and print the tables."""
    run = job.run
    counts = run.read_json("stages", "conversations.json")["counts"]
    run.write_json({**coverage, "conversations": counts, **provenance()}, "report", "coverage.json")
    run.write_text(coverage_page(coverage, counts, run), "report", "index.html")

    for axis, values in coverage["axes"].items():
        job.tracker.log({f"coverage/{axis}/distance": values["distance"]})
    print_coverage(coverage)
    logger.info("report: %s", run.at("report", "index.html"))


def print_coverage(coverage: Mapping[str, Any]) -> None:
    """Print tables of the shares and of diversity."""
    rows: list[Row] = []
    for shown in _share_tables(coverage):
        for number, row in enumerate(shown.rows):
            rows.append({**row, "axis": "" if number else shown.title})

    print_table(table("shares of conversations and turns", [_AXIS, _VALUE, *SHARES], rows))
    diversity = named_rows(SPEAKER, coverage["diversity"])
    print_table(table("diversity of turns", [SPEAKER, *DIVERSITY], diversity))


def _share_tables(coverage: Mapping[str, Any]) -> list[Table]:
    """The shares of each value, an axis each."""
    tables = []
    for axis, shares in coverage["axes"].items():
        rows = []
        for value in shares["expected"]:
            rows.append({"value": value, **{part.key: shares[part.key][value] for part in SHARES}})
        tables.append(Table(f"{axis} (distance {shares['distance']:.3f})", [_VALUE, *SHARES], rows))
    return tables


def coverage_page(coverage: Mapping[str, Any], counts: Mapping[str, Any], run: RunDirectory) -> str:
    """Return the page of what `coverage_of` and the stage `conversations`, its `counts`, returned."""
    diversity = named_rows(SPEAKER, coverage["diversity"])
    failures = [
        {"reason": reason, "times": times} for reason, times in counts.get("turns rewritten", {}).items()
    ]
    template = environment(Path(__file__).parent).get_template("coverage.html.j2")
    return template.render(
        name=run.uri.rsplit("/", 1)[-1],
        shares=[(shown, table_chart(shown, _COLOURS, is_bars=True)) for shown in _share_tables(coverage)],
        diversity=table("Diversity", [SPEAKER, *DIVERSITY], diversity),
        counts={name: count for name, count in counts.items() if isinstance(count, int)},
        failures=table("Rewritten turns", [REASON, TIMES], failures),
        kept=list(islice(Rows(run.at("conversations")), _NUM_SHOWN)),
        rejected=list(islice(Rows(run.at("rejected", "conversations")), _NUM_SHOWN)),
        provenance=provenance(),
    )
