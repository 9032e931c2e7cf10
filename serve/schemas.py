"""Bodies of HTTP requests and answers; those of OpenAI's API are in `serve.chat_completions`."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from serve.changes import State
from serve.messages import MAX_CHARACTERS, TEXT_PATTERN, Messages, Number, RequestBody

MAX_CANDIDATES = 100
MAX_K = 100
MAX_LISTED = 200

Source = Literal["gold", "generated", "added"]
Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_CHARACTERS),
    Field(json_schema_extra={"pattern": TEXT_PATTERN}),
]


class Question(RequestBody):
    """A conversation so far, oldest message first, and which responses to retrieve."""

    messages: Messages
    k: Annotated[int, Number] = Field(default=5, ge=1, le=MAX_K)
    sources: set[Source] = Field(
        default={"gold", "generated", "added"}, min_length=1, json_schema_extra={"uniqueItems": False}
    )
    min_score: Annotated[float | None, Number] = Field(default=None, allow_inf_nan=False)
    diversity: Annotated[float, Number] = Field(default=0.0, ge=0, le=1)


class RespondRequest(Question):
    """`POST /respond`."""

    model_config = ConfigDict(extra="forbid")


class ResponseAnswer(BaseModel):
    """One response, its inner product with the context, and its source."""

    id: str
    text: str
    score: float
    source: Source
    teacher: str | None


class RespondAnswer(BaseModel):
    """The answer and the best responses, best first; a reason where no response is good enough."""

    answer: str | None
    confidence: float | None
    """The probability that the best response fits, by its score; null where the score says nothing of it."""
    reason: str | None
    source: Source | Literal["fallback"] | None
    responses: list[ResponseAnswer]
    version: str


class GenerateRequest(RequestBody):
    """`POST /generate`: a conversation."""

    model_config = ConfigDict(extra="forbid")

    messages: Messages


class GenerateAnswer(BaseModel):
    """The generator's answer, and the text that it was shown."""

    answer: str
    grounded_in: str | None
    version: str


class SearchRequest(RequestBody):
    """`POST /search`: a conversation that ends with a question."""

    model_config = ConfigDict(extra="forbid")

    messages: Messages
    k: Annotated[int, Number] = Field(default=10, ge=1, le=MAX_K)


class FoundDocument(BaseModel):
    """One document and its inner product with the conversation."""

    doc_id: str
    text: str
    score: float


class SearchAnswer(BaseModel):
    """The best documents, best first."""

    documents: list[FoundDocument]
    version: str


class ScoreRequest(RequestBody):
    """`POST /score`: texts to score as responses to a conversation."""

    model_config = ConfigDict(extra="forbid")

    messages: Messages
    candidates: list[Text] = Field(min_length=1, max_length=MAX_CANDIDATES)


class ScoreAnswer(BaseModel):
    """Inner products, in the candidates' order."""

    scores: list[float]
    version: str


class ReloadRequest(RequestBody):
    """`POST /admin/reload`: a version of the index, or the newest."""

    model_config = ConfigDict(extra="forbid")

    version: str | None = None


class ChangeRequest(RequestBody):
    """`POST /admin/responses`: texts to add, ids of responses to withdraw, to restore and to approve."""

    model_config = ConfigDict(extra="forbid")

    add: list[Text] = Field(default=[], max_length=MAX_CANDIDATES)
    withdraw: list[str] = Field(default=[], max_length=MAX_CANDIDATES)
    restore: list[str] = Field(default=[], max_length=MAX_CANDIDATES)
    approve: list[str] = Field(default=[], max_length=MAX_CANDIDATES)

    def ids(self) -> dict[str, list[str]]:
        """The field -> its response ids."""
        return {"withdraw": self.withdraw, "restore": self.restore, "approve": self.approve}

    @model_validator(mode="after")
    def _one_decision_each(self) -> "ChangeRequest":
        decisions: dict[str, str] = {}
        for field, ids in self.ids().items():
            for response_id in ids:
                if decisions.setdefault(response_id, field) != field:
                    raise ValueError(
                        f"expected one decision about {response_id!r}, "
                        f"got {decisions[response_id]} and {field}"
                    )
        return self


class ListRequest(BaseModel):
    """`GET /admin/responses`: which responses to list; those that pass every filter, all by default."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field(default="", max_length=1000)
    source: Source | None = None
    teacher: str | None = None
    state: State | None = None
    flag: str | None = None
    offset: int = Field(default=0, ge=0)
    limit: int = Field(default=50, ge=1, le=MAX_LISTED)


class ListedResponse(BaseModel):
    """A response to review: its source, its reviewers' last decision, and flags of its text."""

    id: str
    text: str
    source: Source
    teacher: str | None
    state: State
    flags: list[str]


class ResponseList(BaseModel):
    """One page of the listed responses, and their number.

    `counts` has, for each of the filters source, teacher, state and flag, how many responses each value would
    list beside the other filters.
    """

    total: int
    responses: list[ListedResponse]
    counts: dict[str, dict[str, int]]


class SimilarResponse(ListedResponse):
    """A listed response, its cosine with another one, and whether it is a near copy of that one's text."""

    similarity: float
    near_copy: bool


class SimilarList(BaseModel):
    """`GET /admin/responses/{id}/similar`: near copies first, then the most similar."""

    responses: list[SimilarResponse]


class ChangeAnswer(BaseModel):
    """How many responses can be retrieved after a change, and how many replicas have taken it."""

    responses: int
    replicas: int


class VersionList(BaseModel):
    """`GET /admin/versions`: the version that is served, and all that can be."""

    served: str
    versions: list[str]


class ReloadAnswer(BaseModel):
    """The version that is served, and how many replicas have loaded it."""

    version: str
    replicas: int


class HealthAnswer(BaseModel):
    """`GET /health`: the version that is served, its responses, and the generator's model, if any."""

    status: Literal["ok"]
    responses: int
    version: str
    generator: str | None


class ReadyAnswer(BaseModel):
    """`GET /ready`: the version that has just answered."""

    status: Literal["ready"]
    version: str


class ErrorAnswer(BaseModel):
    """The answer with a status from 400 on: one line that says what is wrong."""

    detail: str
