"""Tiny models with random weights: a Llama that vLLM serves and BERTs for sentence-transformers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from sentence_transformers.sparse_encoder.modules import SpladePooling
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    BertTokenizerFast,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

CORPUS = [
    "hey how are you doing today?",
    "i am good, just got back from work. what about you?",
    "not bad! do you like music or movies more?",
    "definitely music, i play the guitar and sing a little",
    "A: B: that is so cool, what songs do you play?",
]
_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def make_teacher(folder: Path, *, chat: bool, seed: int) -> Path:
    """A randomly initialised two-layer Llama with its own byte-level vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300 + 40 * seed,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(CORPUS, trainer)

    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    if chat:
        fast.chat_template = _CHAT_TEMPLATE

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.2,
        dtype="float32",
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def make_student(folder: Path, words: Sequence[str]) -> Path:
    """A sentence-transformers folder: a two-layer BERT of random weights over `words`, 16 dimensions."""
    bert = _make_bert(folder, words, BertModel, initializer_range=1.0)  # so that texts differ
    modules = [Transformer(str(bert)), Pooling(16, pooling_mode="mean"), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder))
    return folder


def make_sparse_student(folder: Path, words: Sequence[str]) -> Path:
    """A SPLADE folder of the same size over `words` and five special tokens.

    Its layers hardly change the embeddings and its head passes them on: a word activates itself most, as in
    a trained masked language model, and about half of the others a little.
    """
    bert = _make_bert(folder, words, BertForMaskedLM, initializer_range=0.02)
    model = BertForMaskedLM.from_pretrained(bert)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight.normal_()
        torch.nn.init.eye_(model.cls.predictions.transform.dense.weight)
    model.save_pretrained(bert)

    modules = [Transformer(str(bert), transformer_task="fill-mask"), SpladePooling("max")]
    SparseEncoder(modules=modules, device="cpu").save(str(folder))
    return folder


def make_cross_encoder(folder: Path, words: Sequence[str], labels: Sequence[str]) -> Path:
    """A BERT of random weights that reads two texts over `words` and scores each of `labels`."""
    return _make_bert(
        folder, words, BertForSequenceClassification, initializer_range=1.0, id2label=dict(enumerate(labels))
    )


def _make_bert(
    folder: Path,
    words: Sequence[str],
    architecture: type[PreTrainedModel],
    initializer_range: float,
    **settings: Any,
) -> Path:
    """A folder beside `folder` with the model and its tokenizer."""
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=initializer_range,
        **settings,
    )

    bert = folder.with_name(f"{folder.name}-bert")
    architecture(config).save_pretrained(bert)
    BertTokenizerFast(vocab=vocabulary, model_max_length=64).save_pretrained(bert)
    return bert
