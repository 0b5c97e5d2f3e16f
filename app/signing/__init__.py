"""Signatures: named keys, the signed head of a feed, and signed publications. Only this package does cryptography."""
