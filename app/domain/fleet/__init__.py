"""What is asked of many: baselines, remedies, differences, support matrices, impact, rendering, summaries."""
