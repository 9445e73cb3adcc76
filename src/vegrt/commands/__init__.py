"""The commands by group. Each parses, calls one library function and shows the result; heavy imports are inside."""
