"""The caches that can be cleared, primed and asked for their state."""
