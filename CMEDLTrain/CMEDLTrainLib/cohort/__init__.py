"""From the cohort's table to memory-mapped patches; the table itself is ``CMEDLSegmentLib.io.cohort_table``."""
