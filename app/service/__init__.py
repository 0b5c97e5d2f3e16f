"""Use cases: load what a request names, judge it in the domain, and give the answer; HTTP has no part in it."""
