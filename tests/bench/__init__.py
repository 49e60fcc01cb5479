"""Tests of the benchmark: the load generator against a scripted server, and the report."""
