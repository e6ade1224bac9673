"""Events of jobs inside one gateway process: one reader of the feed, and those who wait for it."""
