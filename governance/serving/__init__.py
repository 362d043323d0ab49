"""A version as MLflow serves it: what its artifacts are, how they are checked, and what it answers."""
