"""Models: each learns vectors or scores from interactions and embeddings."""
