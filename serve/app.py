"""One replica: a responder behind HTTP. Routes, and what happens to a request."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from ray import serve as ray_serve
from starlette.exceptions import HTTPException as StarletteHTTPException

from serve.changes import read_changes, write_change
from serve.chat_completions import ChatRequest, chunks, completion, error_body, server_sent
from serve.chat_endpoint import ChatEndpoint, EndpointError
from serve.config import ServeConfig
from serve.encoders import load_text_encoder
from serve.gate import Gate, StrictJson, route_of
from serve.index import load_index
from serve.metrics import ReplicaMetrics
from serve.responder import Answer, Responder
from serve.schemas import (
    ChangeRequest,
    FoundDocument,
    GenerateAnswer,
    GenerateRequest,
    Question,
    ReloadRequest,
    RespondAnswer,
    RespondRequest,
    ResponseAnswer,
    ScoreAnswer,
    ScoreRequest,
    SearchAnswer,
    SearchRequest,
)
from serve.versions import check_version, current_version, local_version, make_current, versions

logger = logging.getLogger("ray.serve")
_PAGE = Path(__file__).with_name("page.html")
_POLICY = "; ".join(
    [
        "default-src 'none'",
        "connect-src 'self'",
        "img-src data:",
        "style-src 'unsafe-inline'",
        "script-src 'unsafe-inline'",
    ]
)


app = FastAPI(title="Rejoinder")
app.router.route_class = StrictJson
app.add_middleware(Gate)


@app.exception_handler(RequestValidationError)
async def one_line_error(request: Request, error: RequestValidationError) -> JSONResponse:
    """Status 422 and one line that names the first wrong field."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "body"
    return _error(request, 422, f"{where}: {first['msg']}", where)


@app.exception_handler(StarletteHTTPException)
async def http_error(request: Request, error: StarletteHTTPException) -> JSONResponse:
    """One line, in the shape that the route's clients read."""
    return _error(request, error.status_code, str(error.detail))


def _error(request: Request, status: int, line: str, where: str | None = None) -> JSONResponse:
    if route_of(request).startswith("/v1/"):
        return JSONResponse(error_body(line, status, where), status)
    return JSONResponse({"detail": line}, status)


def _best(found: Answer) -> str | None:
    """The text that is most like the conversation, if any is."""
    return found.responses[0].text if found.responses and found.responses[0].score else None


# The class and `app` are pickled when they are made: what its methods use has to be defined above.
@ray_serve.deployment
@ray_serve.ingress(app)
class ResponderReplica:
    """One replica. Its responder is exchanged as a whole: a request sees one version from start to end."""

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self._model = Path(config.run.rstrip("/")).name
        self._fallback = ChatEndpoint("fallback", config.fallback) if config.fallback else None
        self._generator = ChatEndpoint("generator", config.generator) if config.generator else None
        self._metrics = ReplicaMetrics()
        self._loading = asyncio.Lock()
        self._pinned: str | None = None
        self._take(self._load(config.version or current_version(config.run)))

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Ray Serve's `user_config`, {"version": …}; if it cannot be loaded that is logged, the old stays."""
        try:
            self._pinned = user_config.get("version")
            if self._pinned is not None:
                await self.load(check_version(self._config.run, self._pinned))
        except ValueError as error:
            logger.error(f"{error}; {self._responder.version} is served on")

    async def check_health(self) -> None:
        """Called by Ray Serve every few seconds: takes what was changed while this replica was starting."""
        # Again and again: set once, while the replica starts, it was not to be scraped on a slow machine.
        self._metrics.serves(self._responder.version, self._responder.num_responses)
        try:
            if self._pinned is None:
                await self.load(await asyncio.to_thread(current_version, self._config.run))
            if await asyncio.to_thread(read_changes, self._config.run) != self._responder.changes:
                await self.take_changes()
        except (OSError, ValueError) as error:
            # An answer from an older version is better than none.
            logger.error(f"{error}; {self._responder.version} is served on")

    @app.get("/", include_in_schema=False)
    async def page(self) -> FileResponse:
        """The chat page."""
        return FileResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})

    @app.post("/respond")
    async def respond(self, request: RespondRequest) -> RespondAnswer:
        """The best responses to the conversation; no answer, and why, where none is good enough."""
        answer, _ = await self._answer("/respond", request)
        return answer

    @app.post("/generate")
    async def generate(self, request: GenerateRequest) -> GenerateAnswer:
        """What the generator writes, to compare with what is found; it may be shown the best of that."""
        if self._generator is None:
            raise HTTPException(404, "there is no generator")
        responder = self._responder
        messages = [message.model_dump() for message in request.messages]
        try:
            found = responder.search(messages, 1)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        try:
            answer, shown = await self._generator.answer(messages, _best(found))
        except EndpointError as error:
            self._metrics.answered("/generate", "generator failed")
            raise HTTPException(502, str(error)) from error
        self._metrics.answered("/generate", "answered", found.timings)
        return GenerateAnswer(answer=answer, grounded_in=shown, version=responder.version)

    @app.post("/search")
    async def search(self, request: SearchRequest) -> SearchAnswer:
        """What is nearest to the conversation: the documents of a search job."""
        responder = self._responder
        messages = [message.model_dump() for message in request.messages]
        try:
            found = responder.search(messages, request.k)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        self._metrics.answered("/search", "answered", found.timings)
        documents = [
            FoundDocument(doc_id=response.response_id, text=response.text, score=response.score)
            for response in found.responses
        ]
        return SearchAnswer(documents=documents, version=responder.version)

    @app.post("/score")
    async def score(self, request: ScoreRequest) -> ScoreAnswer:
        """Inner products of the conversation with each candidate."""
        responder = self._responder
        messages = [message.model_dump() for message in request.messages]
        try:
            scores = responder.score(messages, request.candidates)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        self._metrics.answered("/score", "answered")
        return ScoreAnswer(scores=scores, version=responder.version)

    @app.post("/v1/chat/completions", response_model=None)
    async def chat_completions(self, request: ChatRequest) -> JSONResponse | StreamingResponse:
        """OpenAI's chat completions, whole or as a stream."""
        if request.model != self._model:
            raise HTTPException(404, f"the model {request.model!r} does not exist; it is {self._model!r}")
        request.k = max(request.k, request.n)
        answer, tokens = await self._answer("/v1/chat/completions", request)
        if not request.stream:
            return JSONResponse(completion(self._model, answer, request.n, tokens))
        usage = request.stream_options is not None and request.stream_options.include_usage
        events = server_sent(chunks(self._model, answer, request.n, tokens, usage))
        return StreamingResponse(events, media_type="text/event-stream")

    @app.get("/v1/models")
    async def models(self) -> dict[str, Any]:
        """The one model."""
        model = {"id": self._model, "object": "model", "created": 0, "owned_by": "rejoinder"}
        return {"object": "list", "data": [model]}

    @app.get("/health")
    async def health(self) -> dict[str, Any]:
        """That this replica answers, and from what; and which model it can be compared with, if any."""
        responder = self._responder
        generator = self._config.generator.model if self._config.generator else None
        return {
            "status": "ok",
            "responses": responder.num_responses,
            "version": responder.version,
            "generator": generator,
        }

    @app.get("/ready")
    async def ready(self) -> dict[str, str]:
        """That this replica takes requests: it is not started before it has an index."""
        return {"status": "ready", "version": self._responder.version}

    @app.get("/admin/versions")
    async def list_versions(self) -> dict[str, Any]:
        """The versions that could be served."""
        return {"served": self._responder.version, "versions": versions(self._config.run)}

    @app.post("/admin/reload")
    async def reload(self, request: ReloadRequest) -> dict[str, Any]:
        """Has every replica serve a version; 409, and the old one stays, where it cannot be loaded."""
        if self._pinned is not None:
            raise HTTPException(409, f"the deployment's user_config names the version {self._pinned!r}")
        try:
            version = check_version(self._config.run, request.version)
            await self.load(version)
        except ValueError as error:
            raise HTTPException(409, str(error)) from error
        make_current(self._config.run, version)
        return {"version": version, "replicas": await self._everywhere("load", version)}

    @app.post("/admin/responses")
    async def change_responses(self, request: ChangeRequest) -> dict[str, Any]:
        """Adds and withdraws single responses in every replica, for good."""
        unknown = [found for found in request.withdraw if not self._responder.has(found)]
        if unknown:
            raise HTTPException(404, f"withdraw: there is no response {unknown[0]!r}")
        write_change(self._config.run, request.add, request.withdraw)
        replicas = await self._everywhere("take_changes")
        return {"responses": self._responder.num_responses, "replicas": replicas}

    async def load(self, version: str) -> None:
        """Serves a version from now on; requests under way end with the old one.

        Raises:
            ValueError: it is damaged; the old one stays.
        """
        async with self._loading:
            if version != self._responder.version:
                self._take(await asyncio.to_thread(self._load, version))

    async def take_changes(self) -> None:
        """Serves with all changes written so far.

        Raises:
            ValueError: one is damaged.
        """
        async with self._loading:
            changes = read_changes(self._config.run)
            self._take(await asyncio.to_thread(self._responder.changed, changes))

    def _load(self, version: str) -> Responder:
        config = self._config
        index = load_index(local_version(config.run, version))
        encoder = load_text_encoder(config.run, index, config.encoder, max(1, int(config.replica_cpus)))
        logger.info(f"{version}: {index.vectors.ntotal} responses, contexts by {type(encoder).__name__}")
        return Responder(index, encoder, read_changes(config.run))

    def _take(self, responder: Responder) -> None:
        self._responder = responder
        self._metrics.serves(responder.version, responder.num_responses)

    async def _everywhere(self, method: str, *arguments: Any) -> int:
        """Calls a method of every replica, this one's too; of how many it went well.

        One that fails, or that dies meanwhile and comes again, catches up at a check of its health.
        """
        context = ray_serve.get_replica_context()
        handle = ray_serve.get_deployment_handle(context.deployment, context.app_name)
        found = await handle.broadcast(method, *arguments).results_async(return_exceptions=True)
        failures = [result for result in found if isinstance(result, Exception)]
        for failure in failures:
            logger.error(f"{method} failed in a replica: {failure}")
        return len(found) - len(failures)

    async def _answer(self, route: str, question: Question) -> tuple[RespondAnswer, int]:
        """The answer, and the tokens read for it."""
        responder = self._responder
        messages = [message.model_dump() for message in question.messages]
        try:
            found = responder.respond(messages, question.k, frozenset(question.sources), question.diversity)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        least = self._config.min_score if question.min_score is None else question.min_score
        good = [response for response in found.responses if least is None or response.score >= least]
        answer = RespondAnswer(
            answer=good[0].text if good else None,
            reason=None,
            source=good[0].source if good else None,
            responses=[
                ResponseAnswer(
                    id=response.response_id,
                    text=response.text,
                    score=response.score,
                    source=response.source,
                    teacher=response.teacher,
                )
                for response in good
            ],
            version=responder.version,
        )
        outcome = "answered"
        if not good:
            best = max((response.score for response in found.responses), default=None)
            answer.reason = (
                "there is no response of these sources"
                if best is None
                else f"the best score is {best:.4f}, below min_score {least}"
            )
            outcome = await self._fall_back(messages, _best(found), answer)
        self._metrics.answered(route, outcome, found.timings)
        if self._config.log_requests:
            logger.info(json.dumps({"messages": messages, **answer.model_dump()}, ensure_ascii=False))
        return answer, found.tokens

    async def _fall_back(
        self, messages: list[dict[str, str]], best: str | None, answer: RespondAnswer
    ) -> str:
        """Asks the fallback, if there is one, and puts what it says into the answer; the outcome."""
        if self._fallback is None:
            return "no answer"
        try:
            answer.answer, _ = await self._fallback.answer(messages, best)
            answer.source = "fallback"
        except EndpointError as error:
            answer.reason = f"{answer.reason}; {error}"
            return "fallback failed"
        return "fallback"
