"""Settings: `zoo.cfg`, properties, the environment and options, read into one configuration."""
