import pytest

# So that its assertions say what they found.
pytest.register_assert_rewrite("tests.end_to_end.cluster.common")
