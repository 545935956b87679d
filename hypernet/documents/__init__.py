"""What a hypernetwork reads."""

from hypernet.documents.chunking import split_into_chunks, tokens_of_chunks
from hypernet.documents.document import Document

__all__ = ["Document", "split_into_chunks", "tokens_of_chunks"]
