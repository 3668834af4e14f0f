"""Entry points for `ray job submit`: read config, call avrec, write tables."""
