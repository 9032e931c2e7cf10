"""One vLLM engine: samples responses and sums log-likelihoods.

The engine runs inside the calling process: it starts in half the time, and on a small machine no
core is lost to the traffic between two processes.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from teachers.config import GenerateConfig, TeacherConfig
from teachers.conversations import Message
from teachers.filters import Generation
from teachers.packaged import model_folder
from teachers.prompts import PromptFormat

KNOWN_SENTENCE = (
    "The sun rises in the east and sets in the west, and at night we can see the moon and the stars."
)
_KNOWN_QUESTION: list[Message] = [{"role": "user", "content": "Hi! What did you do at the weekend?"}]
# CPU blocks of 128 tokens are longer than most contexts; a multiple of 32 is needed there.
_CPU_BLOCK_TOKENS = 32
_BATCH_TOKENS = 1024


@dataclass(frozen=True)
class SanityCheck:
    """What a teacher showed before its scores were used."""

    teacher: str
    loss: float
    """Nats per token on KNOWN_SENTENCE."""
    begins_with: str
    ends_turn_with: str
    chat_template: bool
    sample: str

    def line(self) -> str:
        return (
            f"{self.teacher}: {self.loss:.2f} nats/token on a known sentence, begins with "
            f"{self.begins_with!r}, ends a turn with {self.ends_turn_with!r}, "
            f"{'chat template' if self.chat_template else 'transcript'}, writes {self.sample!r}"
        )


class Engine:
    """A running teacher."""

    def __init__(self, name: str, config: TeacherConfig) -> None:
        self.name = name
        self.config = config
        _set_environment(config)
        from vllm import LLM
        from vllm.platforms import current_platform

        on_cpu = current_platform.is_cpu()
        self._llm = LLM(
            model=model_folder(config.model),
            dtype=config.dtype,
            max_model_len=config.max_model_tokens,
            max_num_batched_tokens=max(_BATCH_TOKENS, config.max_model_tokens),
            # A seeded request whose prompt is split over steps fails on the CPU ("Generator does not use
            # offset"), and split prompts gain nothing at these lengths.
            enable_chunked_prefill=False,
            enable_prefix_caching=True,
            enforce_eager=on_cpu,
            disable_log_stats=True,
            seed=0,
            **({"block_size": _CPU_BLOCK_TOKENS} if on_cpu else {}),
        )
        tokenizer = self._llm.get_tokenizer()
        self.format = PromptFormat(tokenizer, config.system_prompt, config.max_model_tokens * 3 // 4)

    def generate(self, contexts: Sequence[list[int]], config: GenerateConfig) -> list[list[Generation]]:
        """`config.samples` seeded samples for each prompt."""
        from vllm import SamplingParams

        sampling = SamplingParams(
            n=config.samples,
            temperature=config.temperature,
            top_p=config.top_p,
            max_tokens=config.max_tokens,
            seed=config.seed,
            stop=self.format.stop,
        )
        outputs = self._llm.generate(
            [{"prompt_token_ids": ids} for ids in contexts], sampling, use_tqdm=False
        )
        return [
            [Generation(sample.text, sample.finish_reason == "length") for sample in output.outputs]
            for output in outputs
        ]

    def log_likelihoods(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        """Sum in nats over each response's tokens given its context's, for (context, response) token ids.

        Pairs of one context should stand together: its tokens are computed once and read from the prefix
        cache after that. vLLM by itself recomputes them for every pair. Where the cache reaches into the
        response, the first response rows were never computed, so those pairs are scored again without it.
        """
        sums = self._score(pairs, read_cache=True)
        missing = [row for row, value in enumerate(sums) if value is None]
        again = self._score([pairs[row] for row in missing], read_cache=False)
        for row, value in zip(missing, again, strict=True):
            sums[row] = value
        return [value for value in sums if value is not None]

    def _score(self, pairs: Sequence[tuple[list[int], list[int]]], read_cache: bool) -> list[float | None]:
        from vllm import SamplingParams

        if not pairs:
            return []
        outputs = self._llm.generate(
            [{"prompt_token_ids": context + response} for context, response in pairs],
            SamplingParams(
                max_tokens=1, prompt_logprobs=0, skip_reading_prefix_cache=not read_cache, detokenize=False
            ),
            use_tqdm=False,
        )
        sums: list[float | None] = []
        for (context, response), output in zip(pairs, outputs, strict=True):
            # The row that predicts the first response token is the context's last.
            if (output.num_cached_tokens or 0) > len(context) - 1:
                sums.append(None)
                continue
            rows = output.prompt_logprobs[len(context) :]
            sums.append(float(sum(row[token].logprob for row, token in zip(rows, response, strict=True))))
        return sums

    def check(self) -> SanityCheck:
        """A loss on plain English and a sample.

        Raises:
            ValueError: the teacher is not to be trusted, and why.
        """
        tokenizer = self.format.tokenizer
        prior = self.format.context([])
        sentence = tokenizer(f" {KNOWN_SENTENCE}", add_special_tokens=False).input_ids
        start = prior[:1] if not self.format.uses_chat_template else prior
        [total] = self.log_likelihoods([(start, sentence)])
        sampling = GenerateConfig(samples=1)
        [[sample]] = self.generate([self.format.context(_KNOWN_QUESTION)], sampling)
        result = SanityCheck(
            teacher=self.name,
            loss=-total / len(sentence),
            begins_with=tokenizer.decode(prior[:1]),
            ends_turn_with=tokenizer.decode(self.format.response("x")[-1:]),
            chat_template=self.format.uses_chat_template,
            sample=sample.text.strip(),
        )
        if not result.loss <= self.config.max_sane_loss:
            raise ValueError(
                f"teachers.{self.name}: {result.loss:.2f} nats per token on plain English, more than "
                f"max_sane_loss = {self.config.max_sane_loss}; its weights or special tokens are wrong"
            )
        return result


def _set_environment(config: TeacherConfig) -> None:
    """vLLM reads these when it is imported."""
    settings = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_KVCACHE_SPACE": str(max(1, round(config.kv_cache_gib))),
    }
    os.environ.update(settings)
