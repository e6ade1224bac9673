"""From a parsed request to a job in the store: input capture, batching, estimates for dry runs."""
