"""What each way to spend less would have saved on calls that were made, priced again: see `audit.run`."""
