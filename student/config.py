"""Configuration of the student and its training. Imports no heavy library."""

from collections.abc import Callable
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Kind = Literal["dense", "sparse"]
Precision = Literal["auto", "bf16", "fp32"]

_BY_KIND: dict[str, dict[str, Any]] = {
    "model": {"dense": "all-minilm-l6-v2", "sparse": "cassette-splade"},
    "learning_rate": {"dense": 5e-5, "sparse": 5e-4},
    "similarity_scale": {"dense": 20.0, "sparse": 1.0},
}

# Keys that change where and how fast a model is trained, and not its result.
RESOURCES = (
    "micro_batch_size",
    "tokens_per_forward",
    "gradient_cache",
    "report_every_steps",
    "num_workers",
    "cpus_per_worker",
    "use_gpu",
    "node_labels",
    "max_failures",
)


def _by_kind(key: str) -> Callable[[dict[str, Any]], Any]:
    """Return the default factory of `key`, which depends on the student's kind."""
    return lambda values: _BY_KIND[key][values.get("kind", "dense")]


class SparsityConfig(BaseModel):
    """Budgets and regularisation of a sparse student."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    context_terms: float | None = Field(32, gt=0)
    """Budget: active terms of a context, on average."""
    response_terms: float | None = Field(None, gt=0)
    """Budget of a response, likewise; one shared encoder can keep only one of the two."""
    flops: float | None = Field(None, gt=0)
    """Budget of expected multiplications per (context, response) pair, in the place of the other two."""
    regulariser: Literal["flops", "l1"] = "flops"
    """`flops` (Paria et al. 2020) spreads terms over the vocabulary, `l1` only makes them few."""
    regulariser_weight: float = Field(1e-3, ge=0)
    """Weight of each side's regulariser in the loss."""
    warmup_share: float = Field(0.3, ge=0, lt=1)
    """Share of the steps in which the budget is approached and the weight rises, quadratically."""


class TrainingConfig(BaseModel):
    """Settings of Ray Train and DeepSpeed, for students and language models."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    learning_rate: float = Field(gt=0)
    """Peak learning rate of AdamW."""
    accumulation_steps: int = Field(1, ge=1)
    """Steps whose gradients are added up before the weights change; each has its own negatives."""
    warmup_share: float = Field(0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises; after them it falls to zero."""
    gradient_clipping: float = Field(1.0, gt=0)
    """Largest norm of a gradient."""
    num_workers: int = Field(2, ge=1)
    """Training processes."""
    cpus_per_worker: int = Field(1, ge=1)
    """Cores and threads of one."""
    use_gpu: bool = False
    """One GPU per worker."""
    node_labels: dict[str, str] = {}
    """Labels of the nodes that train, such as `{"ray.io/market-type": "on-demand"}`."""
    zero_stage: int = Field(0, ge=0, le=3)
    """DeepSpeed's ZeRO stage."""
    offload_optimizer: bool = False
    """Keep the optimizer's state in the CPU's memory; from ZeRO stage 1 on."""
    precision: Precision = "auto"
    """`auto` is bf16 where the hardware computes in it, two to three times faster than fp32 on a CPU."""
    deepspeed: dict[str, Any] = {}
    """Other parts of DeepSpeed's configuration, merged over ours."""
    seed: int = 0
    """Seed of shuffling and dropout."""
    report_every_steps: int = Field(5, ge=1)
    """Steps between two points of the learning curve."""
    checkpoint_every_steps: int = Field(25, ge=1)
    """Steps between checkpoints. Each is validated, the best is kept, and training resumes from the last."""
    max_failures: int = Field(2, ge=0)
    """Lost workers after which training fails."""

    def whole_updates(self, section: str, num_steps: int) -> int:
        """Return how many of the steps change the weights, a whole number of `accumulation_steps`.

        Raises:
            ValueError: they are too few for one change; names the key in `section`.
        """
        num_taken = num_steps - num_steps % self.accumulation_steps
        if not num_taken:
            raise ValueError(
                f"{section}.accumulation_steps: expected at most the {num_steps} steps of the training, "
                f"got {self.accumulation_steps}"
            )
        return num_taken

    @model_validator(mode="after")
    def _offloads_what_is_sharded(self) -> Self:
        if self.offload_optimizer and not self.zero_stage:
            raise ValueError("offload_optimizer: needs zero_stage 1, 2 or 3")
        return self


class FinetuneConfig(TrainingConfig):
    """Fine-tuning of generative teachers on the training conversations, before inference (as in G2R)."""

    epochs: int = Field(0, ge=0)
    """Passes over the training examples; 0 leaves the teachers as they are."""
    learning_rate: float = Field(5e-5, gt=0)
    """Peak learning rate of AdamW."""
    sequences_per_step: int = Field(16, ge=1)
    """Conversations of all workers together in one step."""
    tokens_per_forward: int = Field(1024, ge=1)
    """Tokens that go through the model together, at least one conversation; more on a GPU."""
    max_tokens: int = Field(512, ge=16)
    """Longer conversations lose their oldest turns."""
    num_workers: int = Field(1, ge=1)
    """Training processes; without GPUs one is faster and holds the weights once."""
    cpus_per_worker: int = Field(2, ge=1)
    """Cores and threads of one."""


class StudentConfig(TrainingConfig):
    """A bi-encoder: one model reads the context, the same or another the response."""

    kind: Kind = "dense"
    """`dense` (embeddings, FAISS) or `sparse` (SPLADE's weighted terms, an inverted index)."""
    model: str = Field(default_factory=_by_kind("model"))
    """The packaged `all-minilm-l6-v2` (dense) or `cassette-splade` (sparse), a folder, or a cached id."""
    encoders: Literal["shared", "separate", "frozen_responses"] = "shared"
    """One encoder for both sides, two, or two with a frozen response encoder, which keeps the index valid.
    A shared encoder ranks copies of the context above every response."""
    max_tokens: int = Field(64, ge=8)
    """Tokens of a context or response that are read, at most the model's positions."""
    context_turns: int = Field(2, ge=1)
    """Newest turns of a context that are read."""
    similarity_scale: float = Field(gt=0, default_factory=_by_kind("similarity_scale"))
    """A score in the losses is the cosine (dense) or inner product (sparse) times this."""
    cross_entropy_weight: float = Field(0.9, ge=0)
    """Weight of the cross-entropy over a context's gold and generated responses (G2R: 1 - α)."""
    kl_weight: float = Field(0.1, ge=0)
    """Weight of the KL divergence from the teachers' distribution (G2R's α)."""
    margin_mse_weight: float = Field(0.0, ge=0)
    """Weight of the squared error of the gold response's margins over the other candidates."""
    embedding_mse_weight: float = Field(0.0, ge=0)
    """Weight of the squared distance to the candidates' vectors (search: to those of teachers' rewrites)."""
    student_temperature: float = Field(1.0, gt=0)
    """Divides the student's scores in the KL and margin terms."""
    teacher_temperature: float = Field(1.0, gt=0)
    """Softens (above 1) or sharpens the target distribution in the KL and margin terms."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """Share of activations that are dropped in training; the model's own where not given. With none, a step
    on a CPU takes a fifth less."""
    frozen_layers: int | None = Field(None, ge=0)
    """Lowest layers of a dense model that stay as they are, with the embeddings; 0 keeps those alone. A step
    then takes less time and memory. All of a sparse model is trained: its embeddings score its terms."""
    max_candidates: int = Field(10, ge=2)
    """Candidates of a context in a step (G2R: 10)."""
    own_turn_negatives: int = Field(0, ge=0)
    """Newest turns of a context that are its negatives, against echoes; `separate` encoders learn it."""
    own_turn_weight: float = Field(1.0, gt=0)
    """Negatives that one such turn counts as."""
    random_negatives: int = Field(0, ge=0)
    """Random responses that all contexts of a step share, besides each other's candidates (G2R: 512)."""
    global_batch_size: int = Field(32, ge=1)
    """Contexts of all workers together in one step."""
    micro_batch_size: int = Field(16, ge=1)
    """Texts of like length that go through the encoder together; more on a GPU."""
    gradient_cache: bool = False
    """Keep the activations of one such group at a time and encode twice: little memory, many negatives."""
    learning_rate: float = Field(gt=0, default_factory=_by_kind("learning_rate"))
    """Peak learning rate of AdamW."""
    epochs: int = Field(1, ge=1)
    """Passes over the training contexts."""
    pretrained_share: float = Field(0.0, ge=0, lt=1)
    """Share of the weights before training in the student's (Wortsman et al. 2022): it keeps topics known."""
    sparsity: SparsityConfig = SparsityConfig()
    early_stopping: int | None = Field(None, ge=1)
    """Validations in a row without a better MRR that end training."""

    def num_steps(self, num_contexts: int) -> int:
        """Return the number of steps of a training on so many contexts.

        Raises:
            ValueError: see `whole_updates`.
        """
        steps_per_epoch = num_contexts // min(self.global_batch_size, num_contexts)
        return self.whole_updates("student", self.epochs * steps_per_epoch)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        weights = ("cross_entropy_weight", "kl_weight", "margin_mse_weight", "embedding_mse_weight")
        if not any(getattr(self, name) for name in weights):
            raise ValueError(f"{', '.join(weights)}: expected at least one above 0, got 0 for all")

        sparsity = self.sparsity
        has_both_terms = sparsity.context_terms is not None and sparsity.response_terms is not None
        if self.encoders == "shared" and sparsity.flops is None and has_both_terms:
            raise ValueError(
                "sparsity: one shared encoder can keep context_terms or response_terms, not both: "
                "set one of them to null, or encoders to separate"
            )

        if self.encoders == "frozen_responses" and sparsity.response_terms is not None:
            raise ValueError("sparsity.response_terms: expected null with encoders = frozen_responses")
        return self


class PoolsConfig(BaseModel):
    """Pools of documents per question, from which the student's candidates are drawn."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    depth: int = Field(1000, ge=1)
    """Documents that each teacher retrieves; all teachers score those that any of them retrieved."""
    negatives: int = Field(16, ge=1)
    """Drawn from the pool for each question, beside its relevant documents (DiSCo: 16)."""
    first_rank: int = Field(11, ge=1)
    """The best rank, by the teachers' mean, that is drawn (DiSCo: 11)."""
    last_rank: int = Field(960, ge=1)
    """The last one (DiSCo: 960)."""
    runs: dict[str, str] = {}
    """Further teachers: TREC run files of other systems, by a name of your choice. A document that a run
    does not list has no score, see `targets.missing`."""
    seed: int = 0
    """Seed of the draw."""

    @model_validator(mode="after")
    def _window(self) -> Self:
        if self.last_rank < self.first_rank:
            raise ValueError(
                f"last_rank: expected at least first_rank = {self.first_rank}, got {self.last_rank}"
            )
        return self
