"""Where a run's numbers go: the training history in the run directory, and Weights & Biases.

Both only observe: neither can stop a run.
"""

import json
import os
from typing import Any

import wandb
from pyarrow.fs import FileType
from ray.train import Checkpoint, UserCallback
from ray.train.v2.api.context import TrainContext

from teachers.records import open_uri


class History(UserCallback):
    """Keeps what the training workers report as JSON Lines; runs on Ray Train's controller."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        filesystem, path = open_uri(uri)
        found = filesystem.get_file_info(path).type == FileType.File
        self._lines = filesystem.open_input_stream(path).read().decode().splitlines() if found else []

    def after_report(
        self, run_context: TrainContext, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None
    ) -> None:
        """Rewrites the file, since object stores cannot append; metrics are rank 0's."""
        self._lines.append(json.dumps(metrics[0]))
        filesystem, path = open_uri(self._uri)
        with filesystem.open_output_stream(path) as stream:
            stream.write("\n".join(self._lines).encode())


class Tracker:
    """One W&B run, offline unless WANDB_MODE is set; begun with the first metric."""

    def __init__(self, project: str, folder: str, config: dict[str, Any]) -> None:
        self._settings: dict[str, Any] = {"project": project, "dir": folder, "config": config}
        self._run: Any = None

    def log(self, metrics: dict[str, float]) -> None:
        try:
            if self._run is None:
                os.environ.setdefault("WANDB_MODE", "offline")
                os.environ.setdefault("WANDB_SILENT", "true")
                self._run = wandb.init(**self._settings)
            self._run.log(metrics)
        except Exception as error:  # a sink: whatever is wrong with it, the job goes on
            print(f"  W&B: {error}")

    def finish(self) -> None:
        if self._run is not None:
            self._run.finish()
