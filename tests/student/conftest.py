"""A tiny encoder of random weights, built on the spot."""

from pathlib import Path

import pytest

from tests.student.student_rows import NUM_WORDS


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder: a two-layer BERT over the words w0, w1, …, 32 dimensions."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(NUM_WORDS))]
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.5,  # so that texts differ although the weights are random
    )
    BertModel(config).save_pretrained(folder / "bert")
    BertTokenizerFast(
        vocab={token: i for i, token in enumerate(tokens)}, model_max_length=64
    ).save_pretrained(folder / "bert")
    bert = Transformer(str(folder / "bert"))
    model = SentenceTransformer(modules=[bert, Pooling(32, pooling_mode="mean"), Normalize()], device="cpu")
    model.save(str(folder / "model"))
    return folder / "model"
