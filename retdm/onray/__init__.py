"""Running retdm on Ray; nothing outside this package imports Ray."""
