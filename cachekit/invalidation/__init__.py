"""What a change of files makes stale: from files by rules to scopes and URLs, and their renewal."""
