"""Events of jobs in one gateway process: one reader of the feed, and the requests that wait for events."""
