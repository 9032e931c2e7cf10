"""Exact log-likelihoods of responses from a vLLM engine that computes each context once.

L tokens of a context, R of a response.
"""

from collections.abc import Iterable, Sequence
from typing import Any

Pair = tuple[list[int], list[int]]
"""Token ids of a context [L] and of a response [R]."""


class LikelihoodScorer:
    """Sums log-likelihoods of responses; contexts are read from the engine's prefix cache."""

    def __init__(self, llm: Any) -> None:
        from vllm.sampling_params import MAX_LOGPROB_TOKEN_IDS

        config = llm.llm_engine.vllm_config
        self._llm = llm
        self._most_token_ids = MAX_LOGPROB_TOKEN_IDS
        self._block_tokens = config.cache_config.block_size
        self.reads_cache = True
        self.scores_token_ids = bool(config.use_v2_model_runner)
        """Whether the engine scores given token ids itself (vLLM's model runner V2, which needs Triton):
        logits for the response's rows only, and no dictionary per token."""

    def log_likelihoods(self, pairs: Sequence[Pair]) -> list[float]:
        """Nats, summed over each response's tokens given its context's.

        Pairs of one context should stand together: its tokens are computed once and read from the prefix
        cache after that, which vLLM by itself does not do for prompt log-probabilities. Where the cache
        reaches into the response (a context that ends on a cache block, responses that begin alike), tokens
        are not scored with the rest, but as the next token after what precedes them.

        Raises:
            RuntimeError: the engine returned no scores.
        """
        scored = self._scored_tokens(pairs)

        sums: list[float] = []
        missing: list[tuple[int, tuple[int, ...], int]] = []
        for number, ((context, response), values) in enumerate(zip(pairs, scored, strict=True)):
            sums.append(sum(values))
            for position in range(len(response) - len(values)):
                missing.append((number, (*context, *response[:position]), response[position]))

        for number, value in self._next_tokens(missing):
            sums[number] += value
        return sums

    def _scored_tokens(self, pairs: Sequence[Pair]) -> list[list[float]]:
        """Log-probabilities of each response's last tokens; those before them were not computed."""
        outputs = self._ask(pairs, self.reads_cache)
        if not self.scores_token_ids:
            return [self._prompt_values(*pair, output) for pair, output in zip(pairs, outputs, strict=True)]

        # Runner V2 drops all rows of a request whose cached prefix passes the first of them.
        dropped = [number for number, output in enumerate(outputs) if output.prompt_token_id_logprobs is None]
        again = self._ask([pairs[number] for number in dropped], reads_cache=False)
        for number, output in zip(dropped, again, strict=True):
            if output.prompt_token_id_logprobs is None:
                raise RuntimeError("vLLM returned no scores of a prompt's tokens")
            outputs[number] = output
        return [[float(row[0]) for row in output.prompt_token_id_logprobs] for output in outputs]

    def _ask(self, pairs: Sequence[Pair], reads_cache: bool) -> list[Any]:
        prompts = [context + response for context, response in pairs]
        return self._generate(prompts, [self._params(*pair, reads_cache) for pair in pairs])

    def _params(self, context: list[int], response: list[int], reads_cache: bool) -> Any:
        from vllm import SamplingParams

        settings: dict[str, Any] = {"prompt_logprobs": 0}
        if self.scores_token_ids:
            # The row before the first token lies in the cache if the context ends with a block.
            first = int(len(context) % self._block_tokens == 0 and len(response) > 1)
            settings = {
                "prompt_logprob_token_ids": [[token] for token in response[first:]],
                "prompt_logprob_start": len(context) - 1 + first,
            }
        return SamplingParams(
            max_tokens=1,
            temperature=0,
            detokenize=False,
            skip_reading_prefix_cache=not reads_cache,
            **settings,
        )

    def _prompt_values(self, context: list[int], response: list[int], output: Any) -> list[float]:
        """Log-probabilities of the response's tokens that were computed: of cached rows there is garbage."""
        # The row that predicts the first response token is the context's last.
        first = max(0, (output.num_cached_tokens or 0) - (len(context) - 1))
        rows = output.prompt_logprobs[len(context) + first :]
        return [float(row[token].logprob) for row, token in zip(rows, response[first:], strict=True)]

    def _next_tokens(
        self, requests: Iterable[tuple[int, tuple[int, ...], int]]
    ) -> Iterable[tuple[int, float]]:
        """(pair, log-probability) of each (pair, preceding tokens, token); each prefix is sent once."""
        from vllm import SamplingParams

        pairs_of: dict[tuple[int, ...], dict[int, list[int]]] = {}
        for pair, prefix, token in requests:
            pairs_of.setdefault(prefix, {}).setdefault(token, []).append(pair)

        prompts: list[tuple[tuple[int, ...], list[int]]] = []
        for prefix, pairs_of_token in pairs_of.items():
            token_ids = list(pairs_of_token)
            for start in range(0, len(token_ids), self._most_token_ids):
                prompts.append((prefix, token_ids[start : start + self._most_token_ids]))

        params = [
            SamplingParams(max_tokens=1, temperature=0, detokenize=False, logprob_token_ids=tokens)
            for _, tokens in prompts
        ]
        outputs = self._generate([list(prefix) for prefix, _ in prompts], params)

        for (prefix, tokens), output in zip(prompts, outputs, strict=True):
            [row] = output.outputs[0].logprobs
            for token in tokens:
                for pair in pairs_of[prefix][token]:
                    yield pair, float(row[token].logprob)

    def _generate(self, prompts: list[list[int]], params: list[Any]) -> list[Any]:
        if not prompts:
            return []
        requests = [{"prompt_token_ids": ids} for ids in prompts]
        outputs: list[Any] = self._llm.generate(requests, params, use_tqdm=False)
        return outputs
