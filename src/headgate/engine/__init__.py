"""The procedure: admit, recall, reserve, attempt, relay, settle."""
