"""Intent in SQL: revisions, change feed, allocators, enrolment, fan-out to agents."""
