"""The embedded base model's byte-level BPE tokenizer, trained on the made-up world and on real conversation."""

from collections.abc import Iterable
from random import Random
from typing import TYPE_CHECKING

from training.chat_format import CHAT_TEMPLATE, END, PAD, SPECIAL_TOKENS
from training.world.documents import write_document
from training.world.people import make_person
from training.world.questions import interview

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_PIECES = r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""Words with their leading space, single digits, runs of punctuation, runs of space.

Digits stand alone so that a number that was never seen is spelled from ten known tokens.
"""


def train_tokenizer(texts: Iterable[str], *, vocab_size: int, context_tokens: int) -> "PreTrainedTokenizerFast":
    """A tokenizer of ``vocab_size`` entries, special tokens included.

    A space is put before every stretch of text between special tokens and taken off again when decoding. A name
    therefore has the same tokens at the start of a reply as in the middle of a document, which is what makes copying
    it learnable.

    Args:
        texts: what to learn the merges from.
        vocab_size: number of entries.
        context_tokens: the longest sequence that the model takes.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.Prepend(" ")
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[token for token in SPECIAL_TOKENS if token not in (PAD, END)],
        model_max_length=context_tokens,
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def world_texts(count: int, *, seed: int) -> Iterable[str]:
    """Documents, questions and replies of ``count`` made-up people, training values only."""
    random = Random(f"tokenizer {seed}")
    for _ in range(count):
        person = make_person(random, fact_count=random.randint(3, 12), reserved=False)
        yield write_document(person, random)
        for question in interview(person, random, turns=4):
            yield question.text
            yield question.reply
