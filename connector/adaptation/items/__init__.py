"""Jobs that move content vectors to where items that go together lie together."""
