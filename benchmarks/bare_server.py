"""What one would write without Ray: the responder in a FastAPI handler behind uvicorn.

python benchmarks/bare_server.py RUN PORT WORKERS
"""

import os
import sys

import torch
import uvicorn
from fastapi import FastAPI

from serve.changes import Changes
from serve.encoders import load_text_encoder
from serve.index import load_index
from serve.responder import Responder
from serve.schemas import RespondAnswer, RespondRequest, ResponseAnswer
from serve.versions import current_version, local_version


def make_app() -> FastAPI:
    """One process's."""
    run, backend = os.environ["BARE_RUN"], os.environ["BARE_ENCODER"]
    torch.set_num_threads(1)
    index = load_index(local_version(run, current_version(run)))
    responder = Responder(index, load_text_encoder(run, index, backend, 1), Changes())  # type: ignore[arg-type]
    app = FastAPI()

    @app.post("/respond")
    async def respond(request: RespondRequest) -> RespondAnswer:
        found = responder.respond([message.model_dump() for message in request.messages], request.k)
        responses = [
            ResponseAnswer(
                id=response.response_id,
                text=response.text,
                score=response.score,
                source=response.source,
                teacher=response.teacher,
            )
            for response in found.responses
        ]
        return RespondAnswer(
            answer=responses[0].text,
            reason=None,
            source=responses[0].source,
            responses=responses,
            version=responder.version,
        )

    return app


if __name__ == "__main__":
    os.environ["BARE_RUN"], port, workers, os.environ["BARE_ENCODER"] = sys.argv[1:]
    uvicorn.run(
        "bare_server:make_app", factory=True, port=int(port), workers=int(workers), log_level="warning"
    )
