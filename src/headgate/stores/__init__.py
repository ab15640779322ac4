"""Where state is kept: the ledger (money), the log (exchanges), the keys. SQLAlchemy is imported on first use only."""
