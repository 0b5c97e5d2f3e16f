"""What a device model, a variable, a profile and a verdict mean; pure, without I/O and without frameworks."""
