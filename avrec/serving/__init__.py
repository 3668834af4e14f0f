"""The online service on Ray Serve; the only home of FastAPI."""
