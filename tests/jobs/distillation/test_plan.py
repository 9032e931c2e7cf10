"""`--plan` counts a job's work before a teacher starts."""

import re
from pathlib import Path

import pytest

from tests.jobs.running import run_job

pytestmark = [pytest.mark.slow, pytest.mark.weights]  # the conversations come with the extra `local`


def _rows(output: str) -> dict[str, list[str]]:
    """Cells of the plan's table by what the work is."""
    lines = re.findall(r"│(.*)│", output)
    cells = [[cell.strip() for cell in line.split("│")] for line in lines]
    return {first: others for first, *others in cells}


def test_a_plan_asks_no_teacher_and_a_finished_job_tells_the_rates(run: Path, config: Path) -> None:
    location = str(run.with_name("planned"))
    output = run_job("distill", config, "--plan", "--run", location)
    assert not Path(location).exists()  # a run of this name would stay as it is
    location += "-plan"
    rows = _rows(output)
    # Twelve contexts, two samples each; their candidates, and those of four ranked contexts.
    assert rows["chat learns"][:2] == ["60", "conversations"]
    assert rows["chat writes"][:2] == ["24", "samples"]
    num_pairs = 12 * (1 + 2 + 2 + 1) + 4 * (20 + 2)
    assert rows["chat scores"][:2] == [str(2 * num_pairs), "pairs"]
    assert rows["retriever scores"][:2] == [str(num_pairs), "pairs"]
    assert rows["student trains"][:2] == ["7", "steps"]
    assert "to do, 0 in the store" not in output and not Path(location, "candidates").exists()

    # The job in whose store the plan looks has measured what does not depend on a fine-tuned teacher.
    assert float(rows["retriever scores"][4].replace(",", "")) > 0
    num_steps, steps_per_s, hours = (float(rows["student trains"][place]) for place in (0, 4, 5))
    assert hours == pytest.approx(num_steps / steps_per_s / 3600, abs=0.006) and steps_per_s > 0
    assert "no rate is known of: chat learns, chat writes, chat scores" in output
