"""What the commands on data directories do, imported when one of them runs."""
