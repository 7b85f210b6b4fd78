"""Results as text, JSON, JSON lines and JUnit XML. Reads results only."""
