"""Rates of a generative teacher of some shape on this machine: reading, as in scoring, and writing.

    python benchmarks/teacher_rates.py [--quick] [--shape 8b]

Weights are random, as rates do not depend on values, and transformers computes: the machine whose rates
docs/scaling.md uses needs neither vLLM nor weights. A step of reading computes the log-likelihood of each of
its tokens; a step of writing adds a token to every sequence, on a GPU as a CUDA graph, as in vLLM. Medians of
several steps. The last line is JSON: shares of the machine's matrix product and copy, measured in the same
run.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from typing import Any

import torch
from machine import copy_rate, matrix_rate, timed
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, LlamaConfig, StaticCache

CONTEXT_TOKENS, RESPONSE_TOKENS = 123, 22  # chitchat-dataset's means (docs/scaling.md)
SHAPES = {
    "8b": LlamaConfig(
        hidden_size=4096,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        intermediate_size=14336,
        vocab_size=128256,
    ),
    "135m": LlamaConfig(
        hidden_size=576,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        intermediate_size=1536,
        vocab_size=49152,
        tie_word_embeddings=True,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer sizes and steps, under 5 minutes")
    parser.add_argument("--shape", choices=SHAPES, default="8b" if torch.cuda.is_available() else "135m")
    options = parser.parse_args()

    on_gpu = torch.cuda.is_available()
    torch.set_default_device("cuda" if on_gpu else "cpu")
    # Some CPUs cannot multiply in bfloat16.
    torch.set_default_dtype(torch.bfloat16 if on_gpu else torch.float32)
    torch.manual_seed(0)

    steps = 5 if options.quick else 20
    limits = {
        "operations": matrix_rate(8192 if on_gpu else 2048, torch.get_default_dtype()),
        "bytes": copy_rate(),
    }

    with torch.inference_mode():
        model = AutoModelForCausalLM.from_config(
            SHAPES[options.shape], dtype=torch.get_default_dtype()
        ).eval()
        read = {tokens: reading(model, tokens, steps) for tokens in sizes((1024, 4096, 8192), options.quick)}
        written = {batch: writing(model, batch, steps) for batch in sizes((64, 256), options.quick)}

    parameters = sum(weights.numel() for weights in model.parameters())
    operations = {tokens: 2 * parameters * rate for tokens, rate in read.items()}
    name = torch.cuda.get_device_name() if on_gpu else "CPU"
    show(
        f"{name}, {options.shape} ({parameters / 1e9:.2f} · 10⁹ parameters)",
        limits,
        operations,
        read,
        written,
    )

    width = torch.get_default_dtype().itemsize
    steps_per_s = max(rate / batch for batch, rate in written.items())
    summary = {
        "device": name,
        "reading_by_matrix_product": round(max(operations.values()) / limits["operations"], 3),
        "read_tokens_per_s": round(max(read.values())),
        "writing_by_copy": round(steps_per_s * width * parameters / limits["bytes"], 3),
        "written_tokens_per_s": round(max(written.values())),
    }
    print(json.dumps(summary))


def sizes(all_of_them: tuple[int, ...], quick: bool) -> tuple[int, ...]:
    return all_of_them[:1] if quick and not torch.cuda.is_available() else all_of_them


def seconds(step: Callable[[], Any], steps: int) -> float:
    """The median of a step, after two warm-up steps."""
    return statistics.median([timed(step) for _ in range(steps + 2)][2:])


def reading(model: Any, tokens: int, steps: int) -> float:
    """Tokens per second of sequences of CONTEXT_TOKENS, `tokens` in a step."""
    ids = torch.randint(model.config.vocab_size, (tokens // CONTEXT_TOKENS, CONTEXT_TOKENS))

    def step() -> Any:
        logits = model(ids, use_cache=False).logits[:, :-1]
        chosen = logits.gather(-1, ids[:, 1:, None])[..., 0]
        return (chosen.float() - logits.float().logsumexp(-1)).sum(-1)

    return float(ids.numel() / seconds(step, steps))


def writing(model: Any, batch: int, steps: int) -> float:
    """Tokens per second of `batch` sequences in the middle of their responses."""
    length, middle = CONTEXT_TOKENS + RESPONSE_TOKENS, CONTEXT_TOKENS + RESPONSE_TOKENS // 2
    cache = StaticCache(model.config, max_cache_len=length)
    prompt = torch.randint(model.config.vocab_size, (batch, CONTEXT_TOKENS))
    model(prompt, past_key_values=cache, logits_to_keep=1)
    last = prompt[:, -1:].clone()
    place = torch.tensor([[middle]]).expand(batch, 1)
    mask = torch.zeros(batch, 1, 1, length)
    mask[..., middle + 1 :] = torch.finfo(mask.dtype).min

    def step() -> None:
        for layer in cache.layers:  # always the same token
            layer.cumulative_length.fill_(middle)
        logits = model(last, past_key_values=cache, position_ids=place, attention_mask=mask).logits
        last.copy_(logits[:, -1].argmax(-1, keepdim=True))

    return batch / seconds(recorded(step) if torch.cuda.is_available() else step, steps)


def recorded(step: Callable[[], None]) -> Callable[[], None]:
    """The step as a CUDA graph."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return lambda: graph.replay()


def show(
    title: str,
    limits: dict[str, float],
    operations: dict[int, float],
    read: dict[int, float],
    written: dict[int, float],
) -> None:
    table = Table("work", "tokens/s", "10¹² operations/s", "of the machine's", title=title)
    table.add_row("matrix product", "", f"{limits['operations'] / 1e12:.3g}", "1")
    for tokens, rate in read.items():
        share = operations[tokens] / limits["operations"]
        table.add_row(
            f"reading, {tokens} tokens a step",
            f"{rate:.0f}",
            f"{operations[tokens] / 1e12:.3g}",
            f"{share:.2f}",
        )

    for batch, rate in written.items():
        table.add_row(f"writing, {batch} sequences", f"{rate:.0f}", "", "")
    Console(width=120).print(table)
    print(f"copy: {limits['bytes'] / 1e9:.0f} GB/s read and written")


if __name__ == "__main__":
    main()
