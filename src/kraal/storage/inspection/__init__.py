"""Looking at data directories, and mending them, without a server: what `kraal`'s tools do.

Everything here reads directories of Apache ZooKeeper and of kraal alike, while a server runs on
them. What changes a directory says so in its name: `repair`, `backup`, `force_new`.
"""
