"""What providers call what they bill: meters, usage types and SKUs, read into models and token classes."""
