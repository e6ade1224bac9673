"""The way of a parsed request to a job in the store: input capture and batching; estimates for dry runs."""
