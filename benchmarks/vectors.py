"""Many vectors for benchmarks of indexes, made from some real ones."""

import os

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from student.encoders.encoder import EncoderSource, embed_texts, load_encoder
from student.encoders.packaged import resolve_model
from student.encoders.precision import mixed_precision
from student.text import context_text
from teachers.corpora.conversations import CHITCHAT, clean, read

Matrix = NDArray[np.float32]
Conversation = list[dict[str, str]]
MODEL, MAX_TOKENS, TURNS, QUERIES = "all-minilm-l6-v2", 64, 4, 200


def real_responses(count: int) -> tuple[list[str], list[Conversation]]:
    """Distinct human-written responses, and QUERIES of the conversations before them."""
    contexts: dict[str, Conversation] = {}
    for _, row in read(CHITCHAT):
        messages = clean(row, 400).messages
        for end in range(1, len(messages)):
            contexts[messages[end]["content"]] = messages[max(0, end - TURNS) : end]
    responses = sorted(contexts)[:count]
    sample = responses[:: len(responses) // QUERIES][:QUERIES]
    return responses, [contexts[response] for response in sample]


def embed(responses: list[str], conversations: list[Conversation]) -> tuple[Matrix, Matrix]:
    """Vectors [N, D] of responses and [Q, D] of conversations, by the packaged encoder."""
    torch.set_num_threads(os.cpu_count() or 1)
    encoder = load_encoder(EncoderSource(resolve_model(MODEL), "dense", MAX_TOKENS))
    contexts = [context_text(conversation, TURNS) for conversation in conversations]
    with mixed_precision(encoder.device, "auto"):
        response_vectors = embed_texts(encoder, responses, "response")
        context_vectors = embed_texts(encoder, contexts, "context")
    return np.asarray(response_vectors), np.asarray(context_vectors)


def enlarge(real: Matrix, size: int) -> Matrix:
    """`size` vectors [N, D]: the real ones, then points between each and one of its eight nearest."""
    if size <= len(real):
        return real[:size]
    generator = np.random.default_rng(0)
    index = faiss.IndexFlatIP(real.shape[1])
    index.add(real)
    nearest = index.search(real, 9)[1][:, 1:]

    missing = size - len(real)
    one = generator.integers(len(real), size=missing)
    other = nearest[one, generator.integers(8, size=missing)]
    share = generator.uniform(0.2, 0.8, (missing, 1)).astype(np.float32)

    made = share * real[one] + (1 - share) * real[other]
    made += generator.standard_normal(made.shape, dtype=np.float32) * 0.01
    faiss.normalize_L2(made)
    return np.concatenate([real, made])
