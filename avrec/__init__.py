"""Audio and video recommendation on Ray: from a media file to a ranked list."""

__version__ = "0.1.0"
