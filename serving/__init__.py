"""The service: a Ray Serve application that makes adapters, keeps them and chats with them, over REST."""
