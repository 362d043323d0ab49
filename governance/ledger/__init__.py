"""The ledger: tables, append-only events, reading and verifying. The only package that imports SQLAlchemy."""
