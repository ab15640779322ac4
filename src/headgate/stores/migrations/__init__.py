"""Alembic's scripts, run by `stores/migrate.py` when a ledger is opened; there is no alembic.ini."""
