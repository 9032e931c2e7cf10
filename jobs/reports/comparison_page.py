"""The report page of a comparison of systems."""

from typing import Any

from jobs.reports import tables
from jobs.reports.columns import Table
from jobs.reports.comparison import Comparison, HeldOutTable
from jobs.reports.comparison_charts import agreement_matrix, comparison_figures, system_numbers
from jobs.reports.pages import environment
from student.evaluation.measured_systems import LOWER_IS_BETTER


def comparison_page(comparison: Comparison, template: str = "comparison.html.j2", **parts: Any) -> str:
    """The whole page, with an outline of its sections; a part without content is left out.

    `parts` are what another `template` shows besides.
    """
    values = vars(comparison) | {"numbers": system_numbers(comparison)} | parts
    return (
        environment()
        .get_template(template)
        .render(
            **values,
            figures=comparison_figures(comparison),
            agreement=agreement_matrix(comparison.teachers),
            sections=tables.sections(comparison),
            systems_tables=[_systems_table(table) for table in comparison.tables],
            differences_tables=[tables.differences_table(table) for table in comparison.tables],
            best=[_best_means(table) for table in comparison.tables],
        )
    )


def _systems_table(table: HeldOutTable) -> Table:
    return tables.systems_table(table).select(*table.metrics, "seeds")


def _best_means(table: HeldOutTable) -> dict[str, float]:
    """Metric -> its best mean, as it is shown: the highest, or the lowest of a share of echoes."""
    best = {}
    for metric in table.metrics:
        means = [row.metrics[metric].mean for row in table.rows if metric in row.metrics]
        best[metric] = round((min if metric in LOWER_IS_BETTER else max)(means), 3)
    return best
