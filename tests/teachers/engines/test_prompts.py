"""Where a response's tokens begin and end, for tokenizers of several kinds."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from teachers.engines.prompts import PromptFormat
from teachers.engines.weights import model_folder
from tests.tiny_models import make_teacher

CONTEXT = [{"role": "user", "content": "hey how are you doing today?"}]


@pytest.fixture(scope="module", params=["chat", "base"])
def prompt_format(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PromptFormat:
    folder = make_teacher(tmp_path_factory.mktemp("teacher"), chat=request.param == "chat", seed=1)
    return PromptFormat("tiny", AutoTokenizer.from_pretrained(folder), 64)


def test_prefix_and_response_are_the_tokens_of_the_whole(prompt_format: PromptFormat) -> None:
    prefix = prompt_format.prefix(CONTEXT, "Be brief.")
    response = prompt_format.response(prefix, "i am good")
    text = prompt_format.tokenizer.decode(prefix.ids + response)
    assert text.endswith("i am good" + prompt_format.tokenizer.decode(prompt_format.end_of_turn))
    assert "hey how are you" in text


def test_old_turns_go_first_and_a_last_turn_that_does_not_fit_is_refused(prompt_format: PromptFormat) -> None:
    turns = [{"role": "user", "content": "music " * 80}, {"role": "assistant", "content": "no"}, *CONTEXT]
    assert "music" not in prompt_format.prefix(turns, "").text
    with pytest.raises(ValueError, match=r"teachers\.tiny: the last turn is \d+ tokens long, 64 fit"):
        prompt_format.prefix([{"role": "user", "content": "x" * 500}], "")


def test_a_border_that_the_tokenizer_merges_away_is_refused() -> None:
    # A vocabulary in which a line's end and what follows it are one token.
    vocabulary = {"<s>": 0, "</s>": 1, "a": 2, "\n": 3, "b": 4, "\nb": 5}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("\n", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("a", "isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}{{ '\n' }}"
    merging = PromptFormat("merging", fast, 64)
    prefix = merging.prefix([{"role": "user", "content": "a"}], "")
    assert merging.response(prefix, "a") == [2, 1]
    with pytest.raises(ValueError, match=r"teachers\.merging: no token border before 'b'"):
        merging.response(prefix, "b")


def _with_template(tmp_path: Path, template: str) -> PromptFormat:
    tokenizer = AutoTokenizer.from_pretrained(make_teacher(tmp_path, chat=True, seed=1))
    tokenizer.chat_template = template
    return PromptFormat("strict", tokenizer, 256)


def test_the_end_of_a_turn_is_the_template_s_own_and_not_the_end_of_the_text(tmp_path: Path) -> None:
    prompt_format = _with_template(
        tmp_path, "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '<|im_start|>' }}{% endfor %}"
    )
    assert prompt_format.tokenizer.decode(prompt_format.end_of_turn) == "<|im_start|>"
    without = _with_template(tmp_path, "{% for m in messages %}{{ m['role'] + m['content'] }}{% endfor %}")
    assert without.end_of_turn == [without.tokenizer.eos_token_id]


def test_templates_without_a_system_role_and_templates_where_the_user_begins_are_served(
    tmp_path: Path,
) -> None:
    strict = _with_template(
        tmp_path,
        "{% for m in messages %}{% if m['role'] != ['user', 'assistant'][loop.index0 % 2] %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}{{ m['content'] }}|{% endfor %}",
    )
    assert strict.prefix(CONTEXT, "Be brief.").text == "hey how are you doing today?|"
    assert strict.prefix([{"role": "assistant", "content": "hi"}, *CONTEXT], "").text.startswith("|hi|hey")
    assert strict.prefix([], "Be brief.").text == "|"  # the prior's


def test_variables_reach_the_chat_template(tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}{{ m['content'] }}{% endfor %}{{ '<think>' if enable_thinking else '|' }}"
    )
    tokenizer = _with_template(tmp_path, template).tokenizer
    assert PromptFormat("thinks", tokenizer, 256, {"enable_thinking": True}).prefix([], "").text == "<think>"
    assert PromptFormat("does not", tokenizer, 256).prefix([], "").text == "|"


@pytest.mark.weights
@pytest.mark.parametrize("model", ["smollm2-135m-instruct", "gemma-3-270m"])
def test_packaged_tokenizers_keep_the_border(model: str) -> None:
    prompt_format = PromptFormat(model, AutoTokenizer.from_pretrained(model_folder(model)), 256)
    prefix = prompt_format.prefix(CONTEXT, "Be brief.")
    for text in ("ok", "Ok!", "'s fine", "... well", "123", "é", "😀", ", right?"):
        response = prompt_format.response(prefix, text)
        assert prompt_format.tokenizer.decode(response).strip().startswith(text)
