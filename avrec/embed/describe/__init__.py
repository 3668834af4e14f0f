"""Describers: from decoded media and texts to words of what is in them."""
