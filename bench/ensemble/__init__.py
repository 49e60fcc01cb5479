"""Three servers on one machine, kraal and Apache in turn: `python -m bench --ensemble`."""
