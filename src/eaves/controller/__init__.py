"""The controller: operator API, device gateway, and what turns the one into the other."""
