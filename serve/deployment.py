"""The Ray Serve application over a run directory.

`serve run serve.deployment:build run=RUN` calls `build`; `deploy` does the same from Python.
"""

import logging
import signal
from pathlib import Path
from threading import Event

from ray import serve as ray_serve
from ray.serve import Application
from ray.serve.config import BackpressureConfig

from serve.app import ResponderReplica
from serve.config import ServeConfig
from serve.versions import check_version, make_current

logger = logging.getLogger(__name__)

NAME = "rejoinder"
_RETRY_AFTER_S = 1


def build(config: ServeConfig) -> Application:
    """The application of one run, whose replicas load its newest version or `config.version`.

    Raises:
        ValueError: the run has no such version.
    """
    if "://" not in config.run:
        # A replica's working directory is not the caller's.
        config = config.model_copy(update={"run": str(Path(config.run).absolute())})

    version = check_version(config.run, config.version)
    make_current(config.run, version)

    deployment = ResponderReplica.options(  # type: ignore[attr-defined]
        num_replicas=config.num_replicas,
        ray_actor_options={"num_cpus": config.replica_cpus},
        max_queued_requests=config.max_queued_requests,
        backpressure_config=BackpressureConfig(retry_after_s=_RETRY_AFTER_S),
    )
    return deployment.bind(config.model_copy(update={"version": None}))  # type: ignore[no-any-return]


def deploy(config: ServeConfig) -> str:
    """Serve a run; return its URL once every replica answers.

    Starts Ray Serve on the current Ray cluster; the caller ends it by `ray.serve.shutdown()`.

    Raises:
        ValueError: the run has no such version, or the port is taken.
    """
    application = build(config)

    try:
        ray_serve.start(http_options={"host": config.host, "port": config.port})
        ray_serve.run(application, name=NAME, route_prefix="/")
    except RuntimeError as error:  # Ray raises it for every failure of its proxy
        if "Failed to bind" not in str(error):
            raise
        raise ValueError(f"port: {config.host}:{config.port} is taken") from error

    return f"http://{config.host}:{config.port}"


def run_until_interrupted(config: ServeConfig) -> None:
    """Serve the run until SIGINT or SIGTERM, then shut Ray Serve down."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        url = deploy(config)
        logger.info("Answering at %s (chat page, and /respond); Ctrl-C ends it.", url)
        Event().wait()
    except KeyboardInterrupt:
        logger.info("Stopping.")
    finally:
        ray_serve.shutdown()
