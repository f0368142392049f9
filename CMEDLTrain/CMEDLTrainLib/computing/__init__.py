"""Processes, memory and number formats: what computing on several devices needs."""
