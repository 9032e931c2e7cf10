"""One replica: a responder behind HTTP. Routes, and the handling of a request."""

import asyncio
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from ray import serve as ray_serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from starlette.exceptions import HTTPException as StarletteHTTPException

from serve.admin import router as admin_routes
from serve.answers import answer_above, best_text, search_answer
from serve.changes import newest_change, read_changes
from serve.chat_completions import (
    ChatCompletion,
    ChatRequest,
    Model,
    ModelList,
    chunks,
    completion,
    server_sent,
)
from serve.chat_endpoint import ChatEndpoint, EndpointError
from serve.config import ServeConfig
from serve.encoders import load_encoders
from serve.gate import Gate, StrictJson, http_error, validation_error
from serve.index import load_index
from serve.messages import Message, with_text
from serve.metrics import ReplicaMetrics
from serve.openapi import DocumentedApp
from serve.pages import page
from serve.responder import Responder
from serve.review import Review
from serve.schemas import (
    GenerateAnswer,
    GenerateRequest,
    HealthAnswer,
    Question,
    ReadyAnswer,
    RespondAnswer,
    RespondRequest,
    ScoreAnswer,
    ScoreRequest,
    SearchAnswer,
    SearchRequest,
)
from serve.versions import check_version, current_name, current_version, local_version
from teachers.storage import WithoutCredentials

logger = logging.getLogger("ray.serve")

_READY_MESSAGES = ({"role": "user", "content": "Are you there?"},)

app = DocumentedApp(title="Rejoinder")
app.router.route_class = StrictJson
app.add_middleware(Gate)
app.add_exception_handler(RequestValidationError, validation_error)
app.add_exception_handler(StarletteHTTPException, http_error)
app.include_router(admin_routes)


# The class and `app` are pickled at their definition: everything that its methods use is defined above.
@ray_serve.deployment
@ray_serve.ingress(app)
class ResponderReplica:
    """One replica. Its responder is replaced as a whole: a request sees one version from start to end."""

    def __init__(self, config: ServeConfig) -> None:
        logger.addFilter(WithoutCredentials())
        self.config = config
        self._model = Path(config.run.rstrip("/")).name
        self._fallback = ChatEndpoint("fallback", config.fallback) if config.fallback else None
        self._generator = ChatEndpoint("generator", config.generator) if config.generator else None
        self._metrics = ReplicaMetrics()
        self.review = Review()
        self._loading = asyncio.Lock()
        self.pinned: str | None = None
        self._taken: tuple[str | None, str | None] | None = None
        self._take(self._load(config.version or current_version(config.run)))

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Load the version of Ray Serve's `user_config`, {"version": …}.

        A version that cannot be loaded is logged, and the old one stays.
        """
        try:
            self.pinned, self._taken = user_config.get("version"), None
            if self.pinned is not None:
                await self.load(await asyncio.to_thread(check_version, self.config.run, self.pinned))
        except ValueError as error:
            logger.error(f"{error}; {self.responder.version} stays")

    async def check_health(self) -> None:
        """Take what was written while this replica was starting; Ray Serve calls it every few seconds.

        Most calls read two small files: the names of the current version and of the newest change.
        """
        # At every check: a gauge set once, at the start, could not be scraped on a slow machine.
        self._metrics.serves(self.responder.version, self.responder.num_responses)

        try:
            written = await asyncio.to_thread(self._written)
            if written == self._taken:
                return

            version, _ = written
            if self.pinned is None:
                await self.load(await asyncio.to_thread(check_version, self.config.run, version))
            await self.take_changes()
            self._taken = written
        except (OSError, ValueError) as error:
            # An answer from an older version is better than none.
            logger.error(f"{error}; {self.responder.version} stays")

    @app.get("/", include_in_schema=False)
    async def chat_page(self) -> FileResponse:
        """The chat page."""
        return page("page.html")

    @app.post("/respond")
    async def respond(self, request: RespondRequest) -> RespondAnswer:
        """Return the best responses; no answer, and the reason, where none is good enough."""
        answer, _ = await self._answer("/respond", request)
        return answer

    @app.post(
        "/generate",
        responses={
            404: {"description": "There is no generator."},
            502: {"description": "The generator gave no answer."},
        },
    )
    async def generate(self, request: GenerateRequest) -> GenerateAnswer:
        """Return the generator's answer, to compare with the retrieved responses.

        A grounded generator is shown the best of them.
        """
        if self._generator is None:
            raise HTTPException(404, "there is no generator")

        responder = self.responder
        messages = self._read(request.messages)
        try:
            retrieved = responder.search(messages, 1)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error

        try:
            answer, shown = await self._generator.answer(messages, best_text(retrieved))
        except EndpointError as error:
            self._metrics.answered("/generate", "generator failed")
            raise HTTPException(502, str(error)) from error

        self._metrics.answered("/generate", "answered", retrieved.timings)
        return GenerateAnswer(answer=answer, grounded_in=shown, version=responder.version)

    @app.post("/search")
    async def search(self, request: SearchRequest) -> SearchAnswer:
        """Return the documents nearest to the conversation, for the index of a search job."""
        responder = self.responder
        messages = self._read(request.messages)
        try:
            retrieved = responder.search(messages, request.k)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error

        self._metrics.answered("/search", "answered", retrieved.timings)
        return search_answer(retrieved, responder.version)

    @app.post("/score")
    async def score(self, request: ScoreRequest) -> ScoreAnswer:
        """Return the inner products of the conversation with each candidate."""
        responder = self.responder
        messages = self._read(request.messages)
        try:
            scores = responder.score(messages, request.candidates)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error

        self._metrics.answered("/score", "answered")
        return ScoreAnswer(scores=scores, version=responder.version)

    @app.post(
        "/v1/chat/completions",
        response_model=ChatCompletion,
        responses={
            200: {"content": {"text/event-stream": {}}},  # events, each a chat.completion.chunk
            404: {"description": "There is no such model."},
        },
    )
    async def chat_completions(self, request: ChatRequest) -> JSONResponse | StreamingResponse:
        """Return an OpenAI chat completion, whole or as a stream."""
        if request.model != self._model:
            raise HTTPException(404, f"unknown model {request.model!r}; expected {self._model!r}")

        request.k = max(request.k, request.n)
        answer, tokens = await self._answer("/v1/chat/completions", request)
        if not request.stream:
            return JSONResponse(completion(self._model, answer, request.n, tokens).model_dump())

        usage = request.stream_options is not None and request.stream_options.include_usage
        events = server_sent(chunks(self._model, answer, request.n, tokens, usage))
        return StreamingResponse(events, media_type="text/event-stream")

    @app.get("/v1/models")
    async def models(self) -> ModelList:
        """List the one model."""
        return ModelList(data=[Model(id=self._model)])

    @app.get("/health")
    async def health(self) -> HealthAnswer:
        """Return the status, the version that is served, and the generator's model, if there is one."""
        responder = self.responder
        generator = self.config.generator.model if self.config.generator else None
        return HealthAnswer(
            status="ok",
            responses=responder.num_responses,
            version=responder.version,
            generator=generator,
        )

    @app.get("/ready")
    async def ready(self) -> ReadyAnswer:
        """Report that this replica answers: it has encoded and searched for a message."""
        responder = self.responder
        responder.respond(_READY_MESSAGES, k=1)
        return ReadyAnswer(status="ready", version=responder.version)

    async def load(self, version: str) -> None:
        """Serve a version from now on; running requests end with the old one.

        Raises:
            ValueError: the version is damaged; the old one stays.
        """
        async with self._loading:
            if version != self.responder.version:
                self._take(await asyncio.to_thread(self._load, version))

    async def take_changes(self) -> None:
        """Serve with all changes written so far.

        Raises:
            ValueError: a change is damaged.
        """
        async with self._loading:
            changes = await asyncio.to_thread(read_changes, self.config.run)
            if changes != self.responder.changes:
                self._take(await asyncio.to_thread(self.responder.changed, changes))

    def _written(self) -> tuple[str | None, str | None]:
        """The names of the current version and of the newest change, as they are written in the run."""
        return current_name(self.config.run), newest_change(self.config.run)

    def _load(self, version: str) -> Responder:
        config = self.config
        index = load_index(local_version(config.run, version))
        encoders = load_encoders(config.run, index, config.encoder, max(1, int(config.replica_cpus)))
        logger.info(f"{version}: {index.vectors.ntotal} responses, encoder {type(encoders.student).__name__}")
        return Responder(index, encoders, read_changes(config.run))

    def _take(self, responder: Responder) -> None:
        self.responder = responder
        self._metrics.serves(responder.version, responder.num_responses)

    async def everywhere(self, method: str, *arguments: Any) -> int:
        """Call a method of every replica, this one included; return the number of successes.

        A replica that fails, or that is restarted meanwhile, catches up at its next health check.
        """
        context = ray_serve.get_replica_context()
        handle = ray_serve.get_deployment_handle(context.deployment, context.app_name)
        try:
            results = await handle.broadcast(method, *arguments).results_async(return_exceptions=True)
        except (RayError, RayServeException) as error:
            # Right after a replica died, the router may know none that lives: then this one alone.
            logger.error(f"{method} was not sent to the other replicas: {error!r}")
            results = [await getattr(self, method)(*arguments)]

        num_failures = 0
        for result in results:
            if isinstance(result, Exception):
                logger.error(f"{method} failed in a replica: {result}")
                num_failures += 1
        return len(results) - num_failures

    def _read(self, messages: Sequence[Message]) -> list[dict[str, str]]:
        """The messages with text; the others are counted."""
        read = with_text(messages)
        self._metrics.passed_over(len(messages) - len(read))
        return read

    async def _answer(self, route: str, question: Question) -> tuple[RespondAnswer, int]:
        """Return the answer, and the number of tokens read for it."""
        responder = self.responder
        messages = self._read(question.messages)
        try:
            retrieved = responder.respond(
                messages, question.k, frozenset(question.sources), question.diversity
            )
        except ValueError as error:
            raise HTTPException(422, str(error)) from error

        min_score = self.config.min_score if question.min_score is None else question.min_score
        answer = answer_above(retrieved, min_score, responder)

        outcome = "answered"
        if answer.answer is None:
            outcome = await self._fall_back(messages, best_text(retrieved), answer)
        self._metrics.answered(route, outcome, retrieved.timings)

        if self.config.log_requests:
            logger.info(json.dumps({"messages": messages, **answer.model_dump()}, ensure_ascii=False))
        return answer, retrieved.tokens

    async def _fall_back(
        self, messages: list[dict[str, str]], best: str | None, answer: RespondAnswer
    ) -> str:
        """Put the fallback's text, if there is a fallback, into the answer; return the outcome."""
        if self._fallback is None:
            return "no answer"

        try:
            answer.answer, _ = await self._fallback.answer(messages, best)
            answer.source = "fallback"
        except EndpointError as error:
            answer.reason = f"{answer.reason}; {error}"
            return "fallback failed"
        return "fallback"
