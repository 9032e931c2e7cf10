"""Ensembles compared by the rank of the gold response, on the validation contexts of a scored run.

    python jobs/distill.py --run validation --until score --generate.contexts 0 \\
      --candidates.evaluation_contexts 0 --candidates.validation_contexts 200
    python benchmarks/ensembles.py runs/validation

Fitted parameters are cross-fitted in two halves. The last line is JSON.
"""

import argparse
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import get_args

from teachers.scoring.calibration import compare_ensembles
from teachers.scoring.config import Combination, TargetsConfig


def _configs() -> Iterator[TargetsConfig]:
    """Yield the ensembles to compare.

    Ranks have no scale. Raw scores (`none`) with a fitted temperature equal those by the scale `teacher`, and
    no fixed one suits all teachers.
    """
    temperatures = (0.4, 0.5, 0.6, "validation")
    grid = product(get_args(Combination), ("context", "teacher"), temperatures, ({}, "validation"))
    for combination, scale, temperature, weights in grid:
        if combination != "reciprocal_rank_fusion" or scale == "context":
            yield TargetsConfig(
                combination=combination, scale=scale, temperature=temperature, weights=weights
            )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--quick", action="store_true", help="changes nothing: it takes seconds")
    run = parser.parse_args().run

    scores = {folder.name: str(folder) for folder in sorted((run / "scores").iterdir())}
    configs = list(_configs())

    measures = compare_ensembles(str(run / "candidates"), scores, "validation", configs)
    for config, measured in zip(configs, measures, strict=True):
        weights = "fitted" if config.weights == "validation" else "equal"
        print(
            f"{config.combination:24} scale {config.scale:8} temperature {config.temperature!s:10} "
            f"weights {weights:6} "
            f"hits@1/20 {measured['hits@1/20']:.3f}, mrr {measured['mrr']:.3f}, "
            f"cross-entropy {measured['cross_entropy']:.3f}"
        )

    default = measures[configs.index(TargetsConfig())]["cross_entropy"]
    print(json.dumps({"ratio_to_best": round(default / min(row["cross_entropy"] for row in measures), 3)}))


if __name__ == "__main__":
    main()
