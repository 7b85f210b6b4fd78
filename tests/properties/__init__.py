"""Properties, found by hypothesis: what must hold for any input."""
