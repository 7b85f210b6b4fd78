"""Clear, prime and warm every cache layer of a web cluster around a deploy, and prove it."""
