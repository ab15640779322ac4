"""Invoices made from the ledger, and their forms: for the command line and the dashboard alike."""
