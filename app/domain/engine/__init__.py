"""The verdict, fast: the same answers as `verdict/`, remembered; property tests hold the two equal."""
