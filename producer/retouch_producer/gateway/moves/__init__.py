"""
Changes by hand that the API and the console both offer. One function makes each change and writes it into the audit.
"""
