"""What a passed gate does: how a node leaves the rotation, and comes back."""
