"""Media files: what they hold, and frames and samples taken from them; the home of PyAV."""
