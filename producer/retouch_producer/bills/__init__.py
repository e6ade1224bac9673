"""Reads the vendor's bill, and compares it with the ledger."""
