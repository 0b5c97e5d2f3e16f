"""The shapes of requests and answers, separate from the objects of the domain; requests are strict."""
