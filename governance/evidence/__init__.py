"""Proofs that need no trust in who keeps the record: tree, keys, notes, envelopes. The only package that signs."""
