"""The report page of a synthesis: one HTML file that loads nothing else."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from jobs.execution.run_directory import RunDirectory, provenance
from jobs.reports.comparison_page import TEMPLATES
from teachers.dataset import Rows

_READ = 5  # conversations of each kind that are shown whole


def coverage_page(found: Mapping[str, Any], counts: Mapping[str, Any], run: RunDirectory) -> str:
    """`found` is what `coverage_of` returned, `counts` what the stage `conversations` did."""
    environment = Environment(
        loader=FileSystemLoader([Path(__file__).parent, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("coverage.html.j2").render(
        name=run.uri.rsplit("/", 1)[-1],
        axes=found["axes"],
        diversity=found["diversity"],
        counts={name: count for name, count in counts.items() if isinstance(count, int)},
        failures=counts["turns written anew"],
        kept=list(islice(Rows(run.at("conversations")), _READ)),
        rejected=list(islice(Rows(run.at("rejected", "conversations")), _READ)),
        provenance=provenance(),
    )
