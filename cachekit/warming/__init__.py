"""Warm nodes by replaying URLs, prove that they are warm, and judge whether they may go live."""
