"""Encoders: media and text to vectors."""
