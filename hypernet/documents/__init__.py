"""What a hypernetwork reads."""

from hypernet.documents.document import Document

__all__ = ["Document"]
