"""Events of jobs inside one gateway process: one reader of the feed, and the requests that wait for events."""
