"""Which part of an array lies on which device."""
