"""Plants: the contract of a plant file, reading and checking it, and finding plants by name."""
