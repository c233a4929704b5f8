"""Generated from ``eaves/wire/proto`` by ``tools/generate_wire.py``; never edited."""
