"""The commands by group. Each parses its options, calls one library function and shows the result; heavy imports are inside."""
