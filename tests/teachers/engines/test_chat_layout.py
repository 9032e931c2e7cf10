"""Conversations in chat templates in the shape of Llama 2's, Mistral's, Gemma's and others."""

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from teachers.corpora.conversations import Message
from teachers.engines.chat_layout import caveats
from teachers.engines.prompts import PromptFormat

ALTERNATING = (
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
)
LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}"
    "{% for message in loop_messages %}"
    + ALTERNATING
    + "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>' + system_message + '<</SYS>>' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
# The system prompt stands before the user's last turn, and is lost where there is none.
MISTRAL = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}"
    "{% set loop_messages = messages[1:] %}{% else %}{% set loop_messages = messages %}{% endif %}"
    "{% for message in loop_messages %}" + ALTERNATING + "{% if message['role'] == 'user' %}"
    "{% if loop.last and system is defined %}{{ '[INST]' + system + message['content'] + '[/INST]' }}"
    "{% else %}{{ '[INST]' + message['content'] + '[/INST]' }}{% endif %}"
    "{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    + ALTERNATING
    + "{{ '<start>' + message['role'] + ' ' + message['content'] | trim + '<end>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start>model ' }}{% endif %}"
)
PARTS = (
    "{% for message in messages %}{{ message['role'] + ': ' }}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{{ '<end>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
PARTS_BUT_THE_SYSTEM = PARTS.replace(
    "{% for part in message['content'] %}",
    "{% if message['role'] == 'system' %}{{ message['content'] + '!' }}{% endif %}"
    "{% for part in (message['content'] if message['role'] != 'system' else []) %}",
)
PLAIN = "{% for message in messages %}{{ message['content'] + '<end>' }}{% endfor %}{{ '>' }}"
SYSTEM = "Be kind."
SHORT: list[Message] = [{"role": "user", "content": "hey you"}]
EVEN: list[Message] = [{"role": "assistant", "content": "so what"}, *SHORT]
LONG: list[Message] = [{"role": "user", "content": "do tell"}, *EVEN]


def prompt_format(template: str, *, eos: str | None = "</s>", end: AddedToken | None = None) -> PromptFormat:
    """The format of a template, with a tokenizer of bytes."""
    alphabet = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({letter: place for place, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token=eos)
    if end is not None:
        fast.add_tokens([end])
    fast.chat_template = template
    return PromptFormat("tiny", fast, 512)


@pytest.mark.parametrize("template", [LLAMA_2, MISTRAL, PARTS, PARTS_BUT_THE_SYSTEM, PLAIN])
@pytest.mark.parametrize("turns", [[], SHORT, EVEN, LONG], ids=["prior", "one", "even", "odd"])
def test_a_prompt_has_the_system_prompt_and_every_turn(template: str, turns: list[Message]) -> None:
    prefix = prompt_format(template).prefix(turns, SYSTEM)
    assert SYSTEM in prefix.text
    positions = [prefix.text.index(turn["content"]) for turn in turns]
    assert positions == sorted(positions)
    assert prefix.ids


@pytest.mark.parametrize("template", [LLAMA_2, MISTRAL, GEMMA, PARTS, PARTS_BUT_THE_SYSTEM, PLAIN])
@pytest.mark.parametrize("turns", [[], SHORT, EVEN, LONG], ids=["prior", "one", "even", "odd"])
def test_a_prompt_without_a_system_prompt_has_every_turn(template: str, turns: list[Message]) -> None:
    prefix = prompt_format(template).prefix(turns, "")
    assert all(turn["content"] in prefix.text for turn in turns) and prefix.ids


def test_the_assistant_s_first_turn_follows_an_empty_one_of_the_user() -> None:
    format = prompt_format(LLAMA_2)
    first = "<s>[INST] <<SYS>>Be kind.<</SYS>> [/INST]"
    assert format.prefix(EVEN, SYSTEM).text == f"{first} so what </s><s>[INST] hey you [/INST]"
    assert format.prefix([], SYSTEM).text == first


def test_a_system_prompt_that_a_template_refuses_is_left_out_and_the_check_can_say_so() -> None:
    gemma = prompt_format(GEMMA)
    assert SYSTEM not in gemma.prefix(LONG, SYSTEM).text
    assert caveats(gemma.layouts) == " that leaves out the system prompt"
    assert caveats(prompt_format(LLAMA_2).layouts) == ""


def test_an_assistant_s_first_turn_goes_where_no_user_turn_may_be_empty() -> None:
    check = "{% if not message['content'] %}{{ raise_exception('empty') }}{% endif %}"
    strict = prompt_format(LLAMA_2.replace(ALTERNATING, ALTERNATING + check))
    with pytest.raises(ValueError, match=r"^teachers\.tiny: expected a chat template that renders the text"):
        strict.prefix([], SYSTEM)
    lenient = prompt_format(
        LLAMA_2.replace(ALTERNATING, ALTERNATING + check.replace("not", "loop.length > 1 and not"))
    )
    assert lenient.prefix(EVEN, SYSTEM).text == "<s>[INST] <<SYS>>Be kind.<</SYS>>hey you [/INST]"
    assert caveats(lenient.layouts) == " that leaves out an assistant's first turn"


def test_a_template_that_shows_no_text_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^teachers\.tiny: expected a chat template that renders the text"):
        prompt_format("{% for message in messages %}{{ message['text'] }}{% endfor %}|").prefix(SHORT, "")


def test_an_added_special_token_ends_a_turn() -> None:
    # Phi-3's <|end|> and the first Llama 3's <|eot_id|> have no role in the tokenizer.
    marked = prompt_format(PLAIN, end=AddedToken("<end>", special=True))
    assert marked.tokenizer.decode(marked.end_of_turn) == "<end>"
    marked = prompt_format(PLAIN.replace("'<end>'", "'\n<end>\n'"), end=AddedToken("<end>", special=True))
    assert marked.tokenizer.decode(marked.end_of_turn) == "<end>"
    plain = prompt_format(PLAIN, end=AddedToken("<end>", special=False))
    assert plain.tokenizer.decode(plain.end_of_turn) == "</s>"


def test_a_tokenizer_without_an_eos_token_needs_a_marker() -> None:
    marked = prompt_format(PLAIN, eos=None, end=AddedToken("<end>", special=True))
    assert marked.tokenizer.decode(marked.end_of_turn) == "<end>"
    with pytest.raises(
        ValueError, match=r"^teachers\.tiny: expected a special token after a turn, or an eos"
    ):
        _ = prompt_format(PLAIN, eos=None).end_of_turn


def test_half_of_a_character_is_an_error_of_its_own_conversation() -> None:
    with pytest.raises(ValueError, match=r"^teachers\.tiny: expected text, got a lone surrogate"):
        prompt_format(PLAIN).prefix([{"role": "user", "content": "hi \ud83d"}], "")
