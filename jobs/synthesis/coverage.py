"""Coverage of a synthesis, shares along every axis and the diversity of its turns: composition and table."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, get_args

from rich.table import Table

from jobs.execution.job import Job
from jobs.execution.progress import embedding
from jobs.execution.run_directory import RunDirectory, provenance
from jobs.reports.terminal import console
from jobs.synthesis.config import SynthesisJobConfig
from jobs.synthesis.page import coverage_page
from student.encoders.encoder import EncoderSource
from student.encoders.packaged import resolve_model
from student.evaluation.diversity import measure_diversity, reservoir_sample
from teachers.generation.near_duplicates import share_near_duplicates
from teachers.synthesis.conversation_graph import Graph, Speaker
from teachers.synthesis.coverage import axis_coverage, turn_texts

logger = logging.getLogger(__name__)

# Millions would not fit in memory, and fewer distinct n-grams come of more text.
_MAX_TEXTS = 20_000
_NEAR_DUPLICATES = 0.7  # Jaccard similarity of word 3-shingles, as in `filters.near_duplicates`
_ENCODER = "all-minilm-l6-v2"
_MEASURES = ("turns", "words", "distinct_1", "distinct_2", "self_bleu", "spread", "near_duplicates")


def coverage_of(run: RunDirectory, graph: Graph) -> dict[str, Any]:
    """`axes`: `axis_coverage` of the run. `diversity`: by speaker the number of turns and their measures."""
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


def print_coverage(found: Mapping[str, Any]) -> None:
    """Tables of the shares and of diversity."""
    table = Table(title="shares of conversations and turns")
    for title in ("axis", "value", "expected", "planned", "obtained"):
        table.add_column(title, justify="left" if title in ("axis", "value") else "right")
    for axis, shares in found["axes"].items():
        table.add_section()
        for place, name in enumerate(shares["expected"]):
            label = f"{axis} (distance {shares['distance']:.3f})" if place == 0 else ""
            table.add_row(
                label, name, *(f"{shares[part][name]:.3f}" for part in ("expected", "planned", "obtained"))
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
