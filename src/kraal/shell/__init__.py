"""The shell: znodes by hand and from scripts, with the commands of Apache ZooKeeper's zkCli.

A command is a function that yields results (`command`, `commands/`); what it was given is parsed
before (`options`), what it yields is written behind it (`results`, `render`). `shell` runs lines
in one session, `modes` says where they come from.

Source of names, formats and exit codes: reference/operations.md section 5.
"""
