"""Every verb of the product, one module for each noun; the only place where a state changes.

Each verb takes the adapters it needs (ledger, registry, encoder) and the acting person's name. A state and its event
commit in one transaction. Long computations run between two transactions, and the second one checks that what they
started from still holds.
"""
