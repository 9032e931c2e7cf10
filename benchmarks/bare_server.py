"""The baseline without Ray: the responder in a FastAPI handler behind uvicorn, on one core.

python benchmarks/bare_server.py RUN PORT ENCODER
"""

import sys

import torch
import uvicorn
from fastapi import FastAPI

from serve.changes import Changes
from serve.config import Backend
from serve.encoders import load_encoders
from serve.index import load_index
from serve.responder import Responder
from serve.schemas import RespondAnswer, RespondRequest, ResponseAnswer
from serve.versions import current_version, local_version


def make_app(run: str, encoder: Backend) -> FastAPI:
    """Make an application that answers as `serve.app`, without its limits, keys and metrics."""
    torch.set_num_threads(1)
    index = load_index(local_version(run, current_version(run)))
    responder = Responder(index, load_encoders(run, index, encoder, 1), Changes())
    app = FastAPI()

    @app.post("/respond")
    async def respond(request: RespondRequest) -> RespondAnswer:
        messages = [message.model_dump() for message in request.messages]
        retrieved = responder.respond(messages, request.k)
        responses = [
            ResponseAnswer(
                id=response.response_id,
                text=response.text,
                score=response.score,
                source=response.source,
                teacher=response.teacher,
            )
            for response in retrieved.responses
        ]

        return RespondAnswer(
            answer=responses[0].text,
            reason=None,
            source=responses[0].source,
            responses=responses,
            version=responder.version,
        )

    @app.get("/health")
    async def health() -> dict[str, object]:
        return {"status": "ok", "responses": responder.num_responses, "version": responder.version}

    return app


if __name__ == "__main__":
    run, port, encoder = sys.argv[1:]
    uvicorn.run(make_app(run, encoder), port=int(port), log_level="warning")  # type: ignore[arg-type]
