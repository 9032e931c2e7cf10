"""The Ray Serve application: `POST /respond` and `GET /health` over a run directory.

`build` is what `serve run serve.app:build run=RUN` calls; `deploy` does the same from Python.
"""

import signal
import tempfile
from pathlib import Path
from threading import Event
from typing import Annotated, Any, Literal

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from ray import serve as ray_serve
from ray.serve import Application

from serve.config import ServeConfig
from serve.folders import file_exists
from serve.index import METADATA_FILE
from serve.responder import Responder
from teachers.records import local_folder

NAME = "rejoinder"

# A student reads a few hundred tokens; these only keep a request from costing more than its answer.
MAX_MESSAGES = 1000
MAX_CHARACTERS = 20_000

app = FastAPI(title="Rejoinder")


class Message(BaseModel):
    """One message of a conversation, in OpenAI's chat format."""

    model_config = ConfigDict(extra="ignore")  # clients of chat APIs send a `name` and more

    role: Literal["user", "assistant", "system"]
    content: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_CHARACTERS)]


class RespondRequest(BaseModel):
    """The conversation so far, oldest message first, and how many responses to return."""

    model_config = ConfigDict(extra="forbid")

    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES)
    k: int = Field(default=5, ge=1)


class ResponseAnswer(BaseModel):
    """One response, its inner product with the context, and where it came from."""

    id: str
    text: str
    score: float
    source: str


class RespondAnswer(BaseModel):
    """The best responses, best first."""

    responses: list[ResponseAnswer]


@app.exception_handler(RequestValidationError)
async def one_line_error(request: Request, error: RequestValidationError) -> JSONResponse:
    """Status 422 and one line that names the first wrong field."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:] if first["type"] != "json_invalid")
    line = f"{where}: {first['msg']}" if where else str(first["msg"])
    return JSONResponse({"detail": line}, status_code=422)


@ray_serve.deployment
@ray_serve.ingress(app)
class ResponderReplica:
    """One replica: a responder behind HTTP, with its own copy of a run that is not local."""

    def __init__(self, config: ServeConfig) -> None:
        self._top_k_limit = config.top_k_limit
        self._scratch = tempfile.TemporaryDirectory(prefix="rejoinder-replica-")
        student, index = (
            str(local_folder(f"{config.run.rstrip('/')}/{part}", Path(self._scratch.name)))
            for part in ("student", "index")
        )
        self._responder = Responder(student, index)

    @app.post("/respond")
    def respond(self, request: RespondRequest) -> RespondAnswer:
        """The `k` best responses to the conversation."""
        if request.k > self._top_k_limit:
            raise HTTPException(422, f"k: Input should be at most {self._top_k_limit}")
        messages = [message.model_dump() for message in request.messages]
        try:
            found = self._responder.respond(messages, request.k)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        return RespondAnswer(
            responses=[
                ResponseAnswer(
                    id=response.response_id, text=response.text, score=response.score, source=response.source
                )
                for response in found
            ]
        )

    @app.get("/health")
    def health(self) -> dict[str, Any]:
        """That this replica answers, and from how many responses."""
        return {"status": "ok", "responses": self._responder.num_responses}


def build(config: ServeConfig) -> Application:
    """The application of one run; ValueError where the run has no complete index."""
    if not file_exists(f"{config.run.rstrip('/')}/index/{METADATA_FILE}"):
        raise ValueError(f"run: {config.run} has no complete index (index/{METADATA_FILE} is missing)")
    if "://" not in config.run:
        # A replica's working directory is not the caller's.
        config = config.model_copy(update={"run": str(Path(config.run).absolute())})
    deployment = ResponderReplica.options(  # type: ignore[attr-defined]
        num_replicas=config.num_replicas, ray_actor_options={"num_cpus": config.replica_cpus}
    )
    return deployment.bind(config)  # type: ignore[no-any-return]


def deploy(config: ServeConfig) -> str:
    """The URL at which the run answers, once every replica does.

    Starts Ray Serve on the current Ray cluster; the caller ends it by `ray.serve.shutdown()`.
    Raises ValueError where the run has no complete index or the port is taken.
    """
    application = build(config)
    try:
        ray_serve.start(http_options={"host": config.host, "port": config.port})
        ray_serve.run(application, name=NAME, route_prefix="/")
    except RuntimeError as error:  # what Ray raises for every failure of its proxy
        if "Failed to bind" not in str(error):
            raise
        raise ValueError(f"port: {config.host}:{config.port} is taken") from error
    return f"http://{config.host}:{config.port}"


def run_until_interrupted(config: ServeConfig) -> None:
    """Serves the run until SIGINT or SIGTERM, then takes Ray Serve down."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        url = deploy(config)
        print(f"Answering at {url}/respond, Ctrl-C ends it.", flush=True)
        Event().wait()
    except KeyboardInterrupt:
        print("Stopping.", flush=True)
    finally:
        ray_serve.shutdown()
