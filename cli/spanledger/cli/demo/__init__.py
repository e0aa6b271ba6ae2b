"""``spanledger demo``: a fake provider that keeps its own books, and real SDK calls against it."""
