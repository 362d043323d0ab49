"""The edit itself: pure functions on tensors, without files, databases or models."""
