"""All public data that training mixes in, read at once."""

from dataclasses import dataclass
from pathlib import Path

from training.chat_format import Turn
from training.public_data import characters, persona_chat, persona_statements, stories
from training.public_data.folder import data_folder
from training.public_data.persona_statements import Persona


@dataclass(frozen=True, kw_only=True)
class PublicData:
    """One side of the split of every public data set.

    Attributes:
        conversations: persona, then dialogue; see `read_conversations`.
        personas: who agrees with what; see `read_personas`.
        sections: of fairy tales; see `read_sections`.
        sentences: of fantasy characters; see `read_character_sentences`.
    """

    conversations: tuple[list[Turn], ...] = ()
    personas: tuple[Persona, ...] = ()
    sections: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()

    @property
    def sources(self) -> list[str]:
        """Data sets with their licences; none for an empty one."""
        every = (
            (self.conversations, persona_chat),
            (self.personas, persona_statements),
            (self.sections, stories),
            (self.sentences, characters),
        )
        return [module.SOURCE for rows, module in every if rows]


def read_public_data(data_dir: Path | None, *, held_out: bool = False) -> PublicData:
    """Everything on one side of the split.

    Args:
        data_dir: the folder of data sets; when not given, ``HYPERNET_DATA_DIR`` names it.
        held_out: the evaluation side if true, the training side if false.

    Raises:
        FileNotFoundError: no folder is named, or a set is missing; the message says where to get it.
    """
    folder = data_folder(data_dir)
    return PublicData(
        conversations=tuple(persona_chat.read_conversations(folder, held_out=held_out)),
        personas=tuple(persona_statements.read_personas(folder, held_out=held_out)),
        sections=tuple(stories.read_sections(folder, held_out=held_out)),
        sentences=tuple(characters.read_character_sentences(folder, held_out=held_out)),
    )
