"""The report page of a synthesis: one HTML file that loads nothing else."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from jobs.execution.run_directory import RunDirectory, provenance
from jobs.reports.columns import DIVERSITY, REASON, SHARES, SPEAKER, TIMES, named_rows, table
from jobs.reports.pages import environment
from teachers.dataset import Rows

_NUM_SHOWN = 5  # conversations of each kind that are shown whole


def coverage_page(coverage: Mapping[str, Any], counts: Mapping[str, Any], run: RunDirectory) -> str:
    """Return the page of what `coverage_of` and the stage `conversations`, its `counts`, returned."""
    diversity = named_rows(SPEAKER, coverage["diversity"])
    failures = [
        {"reason": reason, "times": times} for reason, times in counts.get("turns rewritten", {}).items()
    ]
    template = environment(Path(__file__).parent).get_template("coverage.html.j2")
    return template.render(
        name=run.uri.rsplit("/", 1)[-1],
        axes=coverage["axes"],
        share_columns=SHARES,
        diversity=table("Diversity", [SPEAKER, *DIVERSITY], diversity),
        counts={name: count for name, count in counts.items() if isinstance(count, int)},
        failures=table("Rewritten turns", [REASON, TIMES], failures),
        kept=list(islice(Rows(run.at("conversations")), _NUM_SHOWN)),
        rejected=list(islice(Rows(run.at("rejected", "conversations")), _NUM_SHOWN)),
        provenance=provenance(),
    )
