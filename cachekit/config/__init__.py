"""YAML text to Settings: lines kept, all problems at once. pydantic and yaml live here alone."""
