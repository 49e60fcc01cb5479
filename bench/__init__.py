"""kraal against Apache ZooKeeper on one machine: `python -m bench --help`."""
