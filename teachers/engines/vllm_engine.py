"""One vLLM engine: a teacher that writes responses and sums log-likelihoods.

On a CPU it runs inside the calling process: it starts in half the time, and no core is lost to the
traffic between two processes.
"""

import fcntl
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import connection
from pathlib import Path
from statistics import fmean
from typing import Any

from teachers.config import GenerateConfig, VllmTeacher
from teachers.engines.chat_layout import caveats
from teachers.engines.likelihood import LikelihoodScorer, Pair
from teachers.engines.prompts import PromptFormat
from teachers.engines.protocol import DEFAULT_MAX_TOKENS, Generation, Group, PairScore, Prompt
from teachers.engines.reasoning import check_reasoning, opened_by_prompt, without_reasoning
from teachers.engines.sanity import (
    KNOWN_PAIRS,
    KNOWN_QUESTION,
    echoes_preferred,
    known_sentence_loss,
    refuse_above,
)
from teachers.engines.weights import model_folder
from teachers.hardware import cpu_computes_bfloat16

# CPU blocks of 128 tokens are longer than most contexts; a multiple of 32 is needed there.
_CPU_BLOCK_TOKENS = 32
_CPU_BATCH_TOKENS = 1024
# Nats per token by which scoring from the prefix cache may differ from scoring without, on average. bfloat16
# has three significant digits; transformers and vLLM in float32 agree to 1e-5.
_TOLERANCE = {"float32": 1e-3}
_LOW_PRECISION_TOLERANCE = 0.05


class Engine:
    """A running teacher."""

    def __init__(self, name: str, config: VllmTeacher) -> None:
        self.name = name
        self.config = config
        _set_environment(config)
        from vllm import LLM
        from vllm.platforms import current_platform

        if not (config.num_gpus or current_platform.is_cpu()):
            raise ValueError(f"teachers.{name}.num_gpus: 0, and this build of vLLM computes on GPUs only")
        self._dtype = _dtype(config, current_platform.is_cpu())
        folder = model_folder(config.model, config.revision)
        settings = _cpu_settings(config) if current_platform.is_cpu() else _gpu_settings(config)
        settings |= {"tokenizer_mode": tokenizer_mode(name, Path(folder)), **config.engine}
        with alone_on_shared_gpu(config):
            self._llm = LLM(
                model=folder,
                dtype=self._dtype,
                max_model_len=config.max_model_tokens,
                enable_prefix_caching=True,
                disable_log_stats=True,
                seed=0,
                **settings,
            )
        _tell_of_death(self._llm.llm_engine.engine_core)
        self.format = PromptFormat(
            name, self._llm.get_tokenizer(), config.max_model_tokens * 3 // 4, config.chat_template_kwargs
        )
        self.likelihood = LikelihoodScorer(self._llm)

    def generate(self, prompts: Sequence[Prompt], config: GenerateConfig) -> list[Generation]:
        """A seeded sample for each prompt, an error where the context does not fit."""
        samples = self._samples(prompts, config)
        return [replace(sample, text=without_reasoning(sample.text)) for sample in samples]

    def _samples(self, prompts: Sequence[Prompt], config: GenerateConfig) -> list[Generation]:
        """Samples with the reasoning before them."""
        from vllm import SamplingParams

        generations: list[Generation | None] = []
        requests: list[dict[str, Any]] = []
        openings: list[str] = []
        params: list[Any] = []
        for prompt in prompts:
            try:
                prefix = self.format.prefix(prompt.context, prompt.system_prompt)
            except ValueError as error:
                generations.append(Generation("", truncated=False, error=str(error)))
                continue
            generations.append(None)
            requests.append({"prompt_token_ids": prefix.ids})
            openings.append(opened_by_prompt(prefix.text))
            params.append(
                SamplingParams(
                    temperature=config.temperature,
                    top_p=config.top_p,
                    max_tokens=config.max_tokens,
                    min_tokens=prompt.min_tokens,
                    seed=prompt.seed,
                    **self._stops(),
                )
            )
        outputs = self._llm.generate(requests, params, use_tqdm=False) if requests else []
        written = iter(zip(openings, outputs, strict=True))
        return [generation or _generation(*next(written)) for generation in generations]

    def score(self, groups: Sequence[Group]) -> list[list[PairScore]]:
        """Log-likelihoods of each group's responses, an error where one does not fit or has no border."""
        pairs: list[Pair] = []
        errors: list[list[str | None]] = []
        for group in groups:
            group_pairs, problems = self._pairs(group)
            pairs.extend(group_pairs)
            errors.append(problems)

        sums = iter(zip(self.likelihood.log_likelihoods(pairs), pairs, strict=True))

        def next_score() -> PairScore:
            value, (_, response) = next(sums)
            return PairScore(log_likelihood=value, tokens=len(response))

        return [
            [next_score() if error is None else PairScore(error=error) for error in problems]
            for problems in errors
        ]

    def check(self, scores: bool = True, max_tokens: int = DEFAULT_MAX_TOKENS) -> str:
        """One line: the loss on plain English, how a turn ends, a sample; and of scores, how, and of echoes.

        Where scores from the prefix cache differ from scores without it, the cache is given up for good.

        Raises:
            ValueError: the loss says that weights or special tokens are wrong, the chat template leaves out
                what is said, or the teacher reasons where it should not.
        """
        loss = known_sentence_loss(self.format, self.config.system_prompt, self.likelihood.log_likelihoods)
        refuse_above(self.config.max_sane_loss, loss, self.name)
        prompt = Prompt(KNOWN_QUESTION, self.config.system_prompt, seed=0)
        sample = check_reasoning(
            lambda config: self._samples([prompt], config)[0], scores, max_tokens, self.name
        )
        ends_with = self.format.tokenizer.decode(self.format.end_of_turn)
        reads = "transcript"
        if self.format.uses_chat_template:
            reads = f"chat template{caveats(self.format.layouts)}"
        line = (
            f"{self.name}: {loss:.2f} nats/token on a known sentence, ends a turn with {ends_with!r}, "
            f"{reads}, writes {without_reasoning(sample.text).strip()!r}"
        )
        return f"{line}, {self._check_cache()}, {echoes_preferred(self.score)}" if scores else line

    def _check_cache(self) -> str:
        """What the mean difference is between scores from the cache and without, in another order."""
        pairs = [pair for group in KNOWN_PAIRS for pair in self._pairs(group)[0]]
        cached = self.likelihood.log_likelihoods(pairs)
        self.likelihood.reads_cache = False
        plain = self.likelihood.log_likelihoods(pairs[::-1])[::-1]
        # A mean: in bfloat16 a single pair may be far off, as other batches round otherwise.
        difference = fmean(
            abs(one - other) / len(response)
            for one, other, (_, response) in zip(cached, plain, pairs, strict=True)
        )
        path = "token ids" if self.likelihood.scores_token_ids else "prompt log-probabilities"
        allowed = _TOLERANCE.get(self._dtype, _LOW_PRECISION_TOLERANCE)
        if not difference <= allowed:  # NaN is refused, too
            return (
                f"scores by {path} WITHOUT the prefix cache, several times slower: with it, scores differ by "
                f"{difference:.2g} nats/token, more than {allowed:g}"
            )
        self.likelihood.reads_cache = True
        return f"scores by {path} from the prefix cache (without it {difference:.2g} nats/token apart)"

    def _pairs(self, group: Group) -> tuple[list[Pair], list[str | None]]:
        """Token ids of the pairs that can be scored, and for each response None or what is wrong."""
        try:
            prefix = self.format.prefix(group.context, self.config.system_prompt)
        except ValueError as error:
            return [], [str(error)] * len(group.responses)
        longest = self.config.max_model_tokens - 1
        pairs: list[Pair] = []
        problems: list[str | None] = []
        for text in group.responses:
            try:
                response = self.format.response(prefix, text)
            except ValueError as error:
                problems.append(str(error))
                continue
            tokens = len(prefix.ids) + len(response)
            if tokens > longest:
                problems.append(f"teachers.{self.name}: context and response are {tokens} tokens > {longest}")
                continue
            pairs.append((prefix.ids, response))
            problems.append(None)
        return pairs, problems

    def _stops(self) -> dict[str, Any]:
        if self.format.uses_chat_template:
            return {"stop_token_ids": self.format.end_of_turn}
        return {"stop": ["\n"]}


def _tell_of_death(client: Any) -> None:
    """Whoever waits for an answer of an engine process that is killed gets an error.

    vLLM's own watch closes the connection and wakes nobody, so that its synchronous client waits for ever.
    """
    from vllm.v1.engine.core_client import SyncMPClient
    from vllm.v1.engine.exceptions import EngineDeadError

    if not isinstance(client, SyncMPClient):
        return  # the engine runs inside this process
    sentinels, answers = client.resources.engine_manager.sentinels(), client.outputs_queue

    def watch() -> None:
        connection.wait(sentinels)
        answers.put_nowait(EngineDeadError())

    threading.Thread(target=watch, daemon=True, name="engine-death").start()


def _generation(opening: str, output: Any) -> Generation:
    [sample] = output.outputs
    return Generation(opening + sample.text, truncated=sample.finish_reason == "length")


def _dtype(config: VllmTeacher, on_cpu: bool) -> str:
    """A CPU without instructions for bfloat16 multiplies in it seven times slower than in float32."""
    if config.dtype != "auto":
        return config.dtype
    return "float32" if on_cpu and not cpu_computes_bfloat16() else "bfloat16"


def _cpu_settings(config: VllmTeacher) -> dict[str, Any]:
    return {
        "block_size": _CPU_BLOCK_TOKENS,
        "max_num_batched_tokens": max(_CPU_BATCH_TOKENS, config.max_model_tokens),
        "enforce_eager": True,
        # A seeded request whose prompt is split over steps fails on the CPU ("Generator does not use
        # offset"), and split prompts gain nothing at these lengths.
        "enable_chunked_prefill": False,
    }


def _gpu_settings(config: VllmTeacher) -> dict[str, Any]:
    """Several GPUs share the model; a share of one GPU is a share of its memory."""
    return {
        "tensor_parallel_size": max(
            1, int(config.num_gpus) // config.engine.get("pipeline_parallel_size", 1)
        ),
        "gpu_memory_utilization": 0.9 * min(1, config.num_gpus or 1),
    }


def tokenizer_mode(name: str, folder: Path) -> str:
    """Return vLLM's `tokenizer_mode` for the weights: Hugging Face's where Mistral's lies beside it.

    vLLM prefers Mistral's own, which has neither a chat template nor Hugging Face's methods.

    Raises:
        ValueError: there is Mistral's alone.
    """
    if not (folder / "tekken.json").is_file():
        return "auto"
    if not (folder / "tokenizer.json").is_file():
        raise ValueError(
            f"teachers.{name}.model: expected Hugging Face's tokenizer.json beside Mistral's tekken.json"
        )
    return "hf"


@contextmanager
def alone_on_shared_gpu(config: VllmTeacher) -> Iterator[None]:
    """Wait until no other engine starts on the same GPU, of which this one has a share.

    vLLM measures the free memory twice as it starts, and gives up where another process has changed it.
    """
    if not 0 < config.num_gpus < 1:
        yield
        return

    name = f"rejoinder-gpu-{os.environ.get('CUDA_VISIBLE_DEVICES', '0')}.lock"
    with (Path(tempfile.gettempdir()) / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # Closing the file would not do: a forked engine process holds it, too.
            fcntl.flock(file, fcntl.LOCK_UN)


def _set_environment(config: VllmTeacher) -> None:
    """vLLM reads these when it is imported."""
    if not config.num_gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # what was not reserved may be another's
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "1" if config.num_gpus else "0")
    os.environ.update(
        VLLM_LOGGING_LEVEL="WARNING",
        VLLM_NO_USAGE_STATS="1",
        VLLM_CPU_KVCACHE_SPACE=str(max(1, round(config.kv_cache_gib))),
    )
